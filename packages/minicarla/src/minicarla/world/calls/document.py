"""The table of procedures as text; ``docs/minicarla-rpc.md`` is made by ``minicarla rpcs --markdown``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from minicarla import CARLA_VERSION
from minicarla.world.calls import PROCEDURES
from minicarla.world.calls.registry import ABSENT, COMPLETE, IGNORED, PARTIAL, Procedure

_FAMILIES = {
    "episode": "Episode, clock, map, weather",
    "actors": "Actors, sensors",
    "batches": "Batches of commands",
    "vehicles": "Vehicles",
    "walkers": "Walkers",
    "lights": "Traffic lights and street lights",
    "traffic": "Register of Traffic Managers",
    "recorder": "Recorder",
    "control": "minicarla's own",
}


def _rows() -> Iterator[tuple[str, list[Procedure]]]:
    for family, title in _FAMILIES.items():
        rows = sorted((row for row in PROCEDURES.values() if row.family == family), key=lambda row: row.name)
        if rows:
            yield title, rows


def _count() -> str:
    count = Counter(row.status for row in PROCEDURES.values())
    return ", ".join(f"{count[status]} {status}" for status in (COMPLETE, PARTIAL, IGNORED, ABSENT))


def plain() -> str:
    """One line for each procedure."""
    lines = [f"{row.name:42} {row.status:9} {row.note}".rstrip() for _, rows in _rows() for row in rows]
    return "\n".join([*lines, _count(), ""])


def markdown() -> str:
    """The text of docs/minicarla-rpc.md."""
    lines = [
        f"# Remote procedures of CARLA {CARLA_VERSION} in minicarla",
        "",
        "| status | means |",
        "| --- | --- |",
        "| complete | does what CARLA's does, within minicarla's world |",
        "| partial | does less, as the note says |",
        "| ignored | is accepted and has no effect; the server's log says so |",
        "| absent | is answered with an error that names the function |",
        "",
        "CARLA's client waits for the answers of some calls and raises their errors. It throws away the",
        "answers of all others, such as `apply_control_to_vehicle`. If one of those is refused, the server's",
        "log says so.",
        "",
        "`minicarla rpcs --markdown` writes this page.",
        "",
        f"In all: {_count()}.",
        "",
    ]
    for title, rows in _rows():
        lines += [f"## {title}", "", "| procedure | status | note |", "| --- | --- | --- |"]
        lines += [f"| `{row.name}` | {row.status} | {row.note} |" for row in rows]
        lines.append("")
    return "\n".join(lines)
