"""Trains once with each fault of the catalogue and asks the diagnosis what it was.

    python -m verification.fault_table [--steps 5000] [--only FAULT ...] [--jobs 2] [--out runs/faults]

Writes ``table.md``: fault, first alert and its step, the finding that named it, right or wrong.  The last
rows are healthy runs with three seeds, in which there may be no alert and no finding above info.  A run that
exists already is not trained again, only diagnosed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av_td3.training.fault_catalogue import FAULTS, InjectedFault

AV_TD3 = [sys.executable, "-m", "av_td3"]
SPEED_UP = (
    *("--set", "train.log_interval=50", "--set", "evaluation.interval=2000"),
    *("--set", "evaluation.episodes=2", "--set", "train.max_minutes=null"),
)


@dataclass(frozen=True)
class Row:
    """One run with its alerts and findings."""

    fault: InjectedFault | None
    seed: int
    alerts: list[tuple[str, str, int]]  # name, level, step, in the order in which they were raised
    found: list[str]  # ids of findings above info, most severe first
    noted: list[str]  # ids of findings that are info

    @property
    def right(self) -> bool:
        """Whether alert and finding of the fault are there; in a healthy run, whether there is nothing."""
        if self.fault is None:
            return not self.alerts and not self.found
        return self.fault.finding in self.found + self.noted and any(
            name == self.fault.alert for name, _, _ in self.alerts
        )

    def markdown(self) -> str:
        others = [f"({name})" for name in self.noted if self.fault and name == self.fault.finding]
        cells = (
            self.fault.id if self.fault else f"none, seed {self.seed}",
            _alert(self.alerts[0]) if self.alerts else "none",
            ", ".join(self.found + others) or "nothing",
            "right" if self.right else "**wrong**",
        )
        return "| " + " | ".join(cells) + " |"


HEAD = "| fault | first alert | found above info (at info) | |\n| --- | --- | --- | --- |"


def _alert(alert: tuple[str, str, int]) -> str:
    name, level, step = alert
    return f"{name} ({level}) at {step:,}"


def alerts_of(run: Path) -> list[tuple[str, str, int]]:
    """Alerts that were raised, in order."""
    try:
        alerts = [json.loads(line) for line in (run / "alerts.jsonl").read_text().splitlines()]
    except OSError:
        return []
    return [(a["name"], a["level"], a["step"]) for a in alerts if a["level"] != "ok"]


def diagnose(run: Path) -> list[dict[str, Any]]:
    """All findings, most severe first."""
    report = run / "diagnosis.json"
    subprocess.run(
        [*AV_TD3, "diagnose", str(run), "--quiet", "--json", str(report)], capture_output=True, check=False
    )
    return json.loads(report.read_text())["findings"]


def train(run: Path, steps: int, *more: str) -> None:
    """Train one run.  It may fail: its logs are what is judged."""
    command = [*AV_TD3, "train", "--preset", "quick", "--steps", str(steps), "--run-dir", str(run)]
    with (run.parent / f"{run.name}.log").open("w") as file:
        subprocess.run([*command, *SPEED_UP, *more], stdout=file, stderr=subprocess.STDOUT, check=False)


def observe(out: Path, steps: int, fault: InjectedFault | None, seed: int = 0) -> Row:
    """Train one run, unless it exists already, and collect its alerts and findings."""
    run = out / (fault.id if fault else f"healthy-{seed}")
    if not run.exists():
        train(run, steps, *(("--inject", fault.id) if fault else ("--seed", str(seed))))
    findings = diagnose(run)
    return Row(
        fault,
        seed,
        alerts_of(run),
        [f["id"] for f in findings if f["severity"] != "info"],
        [f["id"] for f in findings if f["severity"] == "info"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the healthy runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = [f for f in FAULTS.values() if arguments.only is None or f.id in arguments.only]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [pool.submit(observe, arguments.out, arguments.steps, fault) for fault in wanted]
        if arguments.only is None:
            futures += [
                pool.submit(observe, arguments.out, arguments.steps, None, s) for s in arguments.seeds
            ]
        rows = []
        for future in futures:
            rows.append(future.result())
            print(rows[-1].markdown(), flush=True)
    (arguments.out / "table.md").write_text("\n".join([HEAD, *(r.markdown() for r in rows)]) + "\n")
    wrong = [row for row in rows if not row.right]
    print(f"{len(rows) - len(wrong)} of {len(rows)} right")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
