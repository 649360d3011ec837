"""Commits every fault of the catalogue in a real run and asks the diagnosis what it was.

    python -m benchmarks.fault_table [--steps 5000] [--only FAULT ...] [--out runs/faults]

Writes ``table.md``: fault, first alert and its step, the finding that named it, right or wrong.
Healthy runs of three seeds come last: nothing above info may be found in them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from av_td3.health.catalogue import FAULTS

AV_TD3 = [sys.executable, "-m", "av_td3"]
SPEED_UP = (
    *("--set", "train.log_interval=50", "--set", "evaluation.interval=2000"),
    *("--set", "evaluation.episodes=2", "--set", "train.max_minutes=null"),
)


def first_alert(run: Path) -> str:
    """``name (level) at step`` of the first alert that was raised."""
    try:
        lines = (run / "alerts.jsonl").read_text().splitlines()
    except OSError:
        return "none"
    for line in lines:
        alert = json.loads(line)
        if alert["level"] != "ok":
            return f"{alert['name']} ({alert['level']}) at {alert['step']}"
    return "none"


def diagnose(run: Path) -> list[dict]:
    """Findings above info, most severe first."""
    report = run / "diagnosis.json"
    subprocess.run(
        [*AV_TD3, "diagnose", str(run), "--quiet", "--json", str(report)], capture_output=True, check=False
    )
    findings = json.loads(report.read_text())["findings"]
    return [f for f in findings if f["severity"] != "info"]


def train(run: Path, steps: int, *more: str) -> None:
    """One run; its exit status is part of what is observed, not judged here."""
    command = [*AV_TD3, "train", "--preset", "quick", "--steps", str(steps), "--run-dir", str(run)]
    log = run.with_suffix(".log")
    with log.open("w") as file:
        subprocess.run([*command, *SPEED_UP, *more], stdout=file, stderr=subprocess.STDOUT, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the healthy runs")
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = ["| fault | first alert | found (above info) | wanted | |", "| --- | --- | --- | --- | --- |"]
    for fault in FAULTS.values():
        if arguments.only is not None and fault.id not in arguments.only:
            continue
        run = arguments.out / fault.id
        train(run, arguments.steps, "--inject", fault.id)
        ids = [f["id"] for f in diagnose(run)]
        right = fault.finding in ids if fault.finding else not ids
        rows.append(
            f"| {fault.id} | {first_alert(run)} | {', '.join(ids) or 'nothing'} | "
            f"{fault.finding or 'nothing'} | {'right' if right else '**wrong**'} |"
        )
        print(rows[-1], flush=True)
    for seed in arguments.seeds if arguments.only is None else []:
        run = arguments.out / f"healthy-{seed}"
        train(run, arguments.steps, "--seed", str(seed))
        ids = [f["id"] for f in diagnose(run)]
        found, verdict = (", ".join(ids), "**wrong**") if ids else ("nothing", "right")
        rows.append(f"| none, seed {seed} | {first_alert(run)} | {found} | nothing | {verdict} |")
        print(rows[-1], flush=True)
    (arguments.out / "table.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
