"""A Markdown table of runs: how each method drives, what its training cost, and whether it was sound.

    python -m benchmarks.run_table runs/stabilisers
    python -m benchmarks.run_table ours=runs/a-s0 ours=runs/a-s1 sb3=sb3.json:"SB3 TD3" --metric driving_score

The inputs are those of av-td3 compare; a folder that is not a run stands for every finished run in it.
Intervals are 95 %, from resampled runs and routes (docs/evaluation.md).  A run is sound if it has no critical
alert, no finding of av-td3 diagnose above info, at most 20 % of the actions at their bound, and Q within what
the reward allows.  Otherwise the table names what is wrong and in how many runs of the method.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from av_td3.commands import compare
from av_td3.errors import UserError
from av_td3.evaluation import report
from av_td3.training.run_directory import RunDirectory
from benchmarks import common
from rundoctor import diagnose, load_runs
from rundoctor.model import INFO
from rundoctor.run import Run
from rundoctor.signals import Signal, actor, critic

MOST_SATURATED = 0.2
COLUMNS = {
    "route_completion": "done %",
    "success_rate": "success %",
    "collisions_per_km": "collisions /km",
    "lateral_deviation_m": "off centre m",
    "lane_invasions_per_km": "markings /km",
    "jerk": "jerk m/s³",
    "comfort_share": "comfort %",
}


@dataclass(frozen=True)
class Trained:
    """What a training cost."""

    steps: int
    minutes: float


@dataclass(frozen=True)
class Health:
    """What a run's logs say of its training."""

    name: str
    largest_q: float | None
    """Largest |Q| in a batch, for the replayed actions and for the policy's own."""
    q_bound: float | None
    critic_loss: float | None
    """Median over the last quarter of the rows."""
    saturation: float | None
    """Largest share of the policy's actions at their bound."""
    complaints: tuple[str, ...]
    """What was not sound."""


def health_of(folder: Path) -> Health:
    """Read the logs of a run.

    Raises:
        UserError: there are none.
    """
    loaded = load_runs([folder]).runs
    if not loaded:
        raise UserError(f"{folder} has no logs to read", 2)
    run = loaded[0]
    ends = [_series(run, s) for q in (critic.Q1, critic.Q2, actor.Q) for s in (q.min, q.max)]
    q = max((float(np.abs(values).max()) for values in ends if len(values)), default=None)
    bound = run.q_limit[0] if run.q_limit else None
    loss, saturated = _series(run, critic.LOSS), _series(run, actor.SATURATION)
    saturation = float(saturated.max()) if len(saturated) else None
    critical = {str(alert["name"]) for alert in run.alerts if alert.get("level") == "critical"}
    complaints = [f"critical alert {name}" for name in sorted(critical)]
    complaints += [finding.id for finding in diagnose(run).findings if finding.severity > INFO]
    if saturation is not None and saturation > MOST_SATURATED:
        complaints.append(f"more than {MOST_SATURATED:.0%} of the actions at their bound")
    if q is not None and bound is not None and q > bound:
        complaints.append("Q above the reward's bound")
    return Health(
        run.name,
        q,
        bound,
        float(np.median(loss[-max(1, len(loss) // 4) :])) if len(loss) else None,
        saturation,
        tuple(complaints),
    )


def _trained(entry: compare.Entry) -> Trained | None:
    """From the run's directory, or else from the file of the figures; None where neither has it."""
    if entry.run is not None:
        status = RunDirectory.open(entry.run).status()
        return Trained(int(status["step"]), float(status["minutes"]))
    said = entry.conditions.get("trained", {}).get(entry.agent)
    return None if said is None else Trained(int(said["steps"]), float(said["minutes"]))


def _series(run: Run, signal: Signal) -> Any:
    found = run.get(signal)
    return np.empty(0) if found is None else found.value


def expanded(inputs: Iterable[str]) -> list[str]:
    """The inputs; a folder of runs becomes its finished runs, each named after its method."""
    found = []
    for text in inputs:
        folder = Path(text)
        if not folder.is_dir() or (folder / "config.yaml").exists():
            found.append(text)
            continue
        runs = sorted(p.parent.parent for p in folder.glob("*/evaluations/final.json"))
        if not runs:
            raise UserError(f"{folder} has no finished run", 2)
        # In the order in which they were made, which is that of the sweep's file.
        runs.sort(key=lambda run: (run / "config.yaml").stat().st_mtime)
        found += [f"{method_of(run)}={run}" for run in runs]
    return found


def method_of(run: Path) -> str:
    """The name of a run of a sweep without its seed."""
    return re.sub(r"-s[0-9]+$", "", run.name)


def rows(compared: compare.Compared) -> list[dict[str, Any]]:
    """The figures of each method, and the health of its runs."""
    found = []
    for label, entries in compared.methods.items():
        figures = compared.figures(label)
        found.append(
            {
                "method": label,
                "runs": len(entries),
                "figures": {name: figures[name].to_dict() for name in COLUMNS},
                "cells": {name: report.in_line(name, figures[name]) for name in COLUMNS},
                "trained": [asdict(t) for e in entries if (t := _trained(e)) is not None],
                "health": [asdict(health_of(e.run)) for e in entries if e.run is not None],
            }
        )
    return found


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The table."""
    heads = ["method", "runs", "steps", "minutes", *COLUMNS.values()]
    heads += ["largest \\|Q\\| (bound)", "critic loss", "sound"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for each in table:
        health = [Health(**h) for h in each["health"]]
        cost = _cost([Trained(**t) for t in each["trained"]])
        cells = [each["method"], str(each["runs"]), *cost, *each["cells"].values()]
        cells += [_largest(health), _median([h.critic_loss for h in health]), _sound(health)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cost(trained: Sequence[Trained]) -> tuple[str, str]:
    if not trained:
        return "-", "-"
    steps = sorted({t.steps for t in trained})
    made = f"{steps[0]:,}" + (f"..{steps[-1]:,}" if len(steps) > 1 else "")
    return made, f"{statistics.median(t.minutes for t in trained):.1f}"


def _largest(health: Sequence[Health]) -> str:
    largest = max((h.largest_q for h in health if h.largest_q is not None), default=None)
    bounds = {f"{h.q_bound:.0f}" for h in health if h.q_bound is not None}
    return "-" if largest is None else f"{largest:.3g} ({', '.join(sorted(bounds))})"


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.2g}" if known else "-"


def _sound(health: Sequence[Health]) -> str:
    """``yes``, or each complaint with the number of runs that have it."""
    if not health:
        return "-"
    counts: dict[str, int] = {}
    for complaint in (c for h in health for c in h.complaints):
        counts[complaint] = counts.get(complaint, 0) + 1
    return "; ".join(f"{what} ({n} of {len(health)})" for what, n in counts.items()) or "yes"


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = common.options(__doc__)
    parser.add_argument("inputs", nargs="+", metavar="[NAME=]RUN[:AGENT]")
    parser.add_argument("--metric", choices=compare.SCORES, default="route_completion")
    parser.add_argument("--baselines", action="store_true", help="also the other agents of the inputs")
    options = parser.parse_args(words)
    try:
        entries = [e for text in expanded(options.inputs) for e in compare.read(text, options.baselines)]
        compared = compare.aggregated(entries, options.metric)
        table = rows(compared)
    except UserError as error:
        parser.exit(error.status, f"error: {error}\n")
    print(markdown(table))
    common.write_json(options.json, {"routes": len(compared.seeds), "rows": table})


if __name__ == "__main__":
    main()
