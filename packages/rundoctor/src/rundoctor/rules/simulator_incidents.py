"""The simulator failed and was replaced."""

from __future__ import annotations

from collections import Counter

from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..run import Run
from ..signals import machine
from ..signals.conditions import SIMULATOR_INCIDENTS

OFTEN = SIMULATOR_INCIDENTS.threshold("warning") / 1000
"""Incidents a step."""


def check(run: Run) -> Outcome:
    restarts = run.get(machine.RESTARTS)
    kinds = Counter(_kind(i) for i in run.incidents)
    kinds.pop("port-taken", None)  # a finding of its own
    count = max(int(restarts.last.value) if restarts is not None else 0, sum(kinds.values()))
    if restarts is None and not run.incidents and not run.status:
        return Skipped(
            "incidents of the simulator are not recorded",
            (machine.RESTARTS.tag, "incidents.jsonl"),
            "Record every restart of the simulator, or of its client, with its cause.",
        )
    if count == 0:
        return Clear("no incident of the simulator")
    evidence = []
    if kinds:
        listing = ", ".join(f"{n} {k}" for k, n in kinds.most_common(6))
        evidence.append(
            Evidence("incidents.jsonl", _step(run.incidents[-1]), float(sum(kinds.values())), listing)
        )
    if restarts is not None:
        evidence.append(
            Evidence(
                restarts.tag, restarts.last.step, restarts.last.value, f"{restarts.last.value:.0f} restarts"
            )
        )
    away = run.get(machine.DOWNTIME)
    if away is not None and away.last.value > 0:
        text = f"simulators were away for {away.last.value:.0f} s"
        evidence.append(Evidence(away.tag, away.last.step, away.last.value, text))
    often = count > max(2, OFTEN * max(run.last_step, 1))
    return Finding(
        "simulator-incidents",
        WARNING if often else INFO,
        f"The simulator failed {count} time{'s' if count > 1 else ''} and was replaced",
        evidence,
        "Simulator or client died, hung, or did not answer in time; the run went on with a new one.",
        "Read incidents.jsonl and the simulator's logs; check memory, GPU, ports and the step deadline.",
        0.95,
    )


def _kind(entry: dict[str, object]) -> str:
    for key in ("kind", "cause", "type", "event", "reason"):
        value = entry.get(key)
        if isinstance(value, str):
            return value[:60]
    return "incident"


def _step(entry: dict[str, object]) -> int | None:
    value = entry.get("step")
    return int(value) if isinstance(value, int | float) else None


RULE = Rule(
    id="simulator-incidents",
    title="Simulator incidents",
    statement=(
        "Each restart of the simulator cuts an episode short. Few of them do no harm; many mean that "
        "episodes are cut faster than they are learned from."
    ),
    check=check,
    order=46,
)
