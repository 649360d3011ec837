"""Another process held a port that the run needed."""

from __future__ import annotations

from ..model import INFO, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..run import Run


def check(run: Run) -> Outcome:
    taken = [i for i in run.incidents if i.get("kind") == "port-taken"]
    if not taken:
        if not run.incidents and not run.status:
            return Skipped(
                "incidents of the simulator are not recorded",
                ("incidents.jsonl",),
                "Record every port that was found taken, and which one was used instead.",
            )
        return Clear("no port was found taken")
    return Finding(
        "port-taken",
        INFO,
        "The Traffic Manager's port was taken; the run went on with another",
        [
            Evidence("incidents.jsonl", None, float(len(taken)), f"{i.get('text')}: {i.get('action')}")
            for i in taken[:3]
        ],
        "Another run, or a process that an earlier run left behind, listens on that port. CARLA's client "
        "would have failed there after ten seconds with a bind error.",
        "End processes that earlier runs left behind, or give each run a port of its own: --set "
        "env.simulator.traffic_manager_port=...",
        0.95,
    )


RULE = Rule(
    id="port-taken",
    title="Ports taken by others",
    statement=("Every Traffic Manager listens on a port, and two cannot share one."),
    check=check,
    order=47,
)
