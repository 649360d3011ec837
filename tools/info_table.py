"""Rewrite the tables of the observation and of ``info`` in docs/architecture.md: python -m tools.info_table

Those of the observation are made from the docstring of ``av_td3.driving.observation``, where each entry of
the vector has its meaning and unit, and from the presets; that of ``info`` from
``av_td3.driving.info.StepInfo``, where each key has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

from av_td3.config import EnvConfig, ObservationConfig, load_config, preset_names
from av_td3.driving import observation
from av_td3.driving.info import Key, StepInfo

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
ROW = re.compile(r"^\| (\w+) \| (.+) \| (.+) \|$", re.MULTILINE)


def entries() -> str:
    """The entries of the vector in their order: how many numbers each is, its meaning, and its unit."""
    counts: dict[str, int] = {}
    for kind in ("route", "sight", "state"):
        seen = ObservationConfig(vector=kind, previous_action=True, traffic_light=True)
        counts |= EnvConfig(observation=seen).visible_entries
    rows = ["| entry | numbers | meaning | unit of 1.0 |", "| --- | --- | --- | --- |"]
    for name, meaning, unit in ROW.findall(observation.__doc__ or ""):
        if name != "name":
            rows.append(f"| `{name}` | {counts.pop(name)} | {meaning} | {_shown(unit)} |")
    if counts:
        raise ValueError(f"the docstring of {observation.__name__} lacks {', '.join(counts)}")
    return "\n".join(rows) + "\n"


def presets() -> str:
    """What the vector of each preset holds."""
    rows = ["| preset | the actor sees | only the critic sees | numbers |", "| --- | --- | --- | --- |"]
    for name in preset_names():
        env = load_config(name).env
        seen, hidden = (", ".join(f"`{n}`" for n in e) for e in (env.visible_entries, env.privileged_entries))
        rows.append(f"| `{name}` | {seen} | {hidden} | {env.vector_size} |")
    return "\n".join(rows) + "\n"


def _shown(unit: str) -> str:
    """A unit with the names of constants replaced by their values."""
    return re.sub(
        r"``([^`]+)``", lambda m: f"{vars(observation)[m[1]]:g}" if m[1].isupper() else f"`{m[1]}`", unit
    )


def info() -> str:
    """The keys of ``info``, one row a key."""
    rows = ["| key | unit | meaning |", "| --- | --- | --- |"]
    for name, hint in get_type_hints(StepInfo, include_extras=True).items():
        key: Key = hint.__metadata__[0]
        rows.append(f"| `{name}` | {key.unit} | {key.meaning} |")
    return "\n".join(rows) + "\n"


TABLES: dict[str, Callable[[], str]] = {"entries": entries, "vectors": presets, "info": info}


def updated(page: str) -> str:
    """The page with today's tables between their marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: made by tools/info_table.py -->\n", f"<!-- /{name} -->\n"
        before, rest = page.split(begin)
        page = before + begin + table() + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
