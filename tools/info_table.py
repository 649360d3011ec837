"""Rewrite the table of ``info``'s keys in docs/architecture.md: python -m tools.info_table

The table is made from ``av_td3.driving.info.StepInfo``, where each key has its unit and meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

from av_td3.driving.info import Key, StepInfo

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
BEGIN, END = "<!-- info: made by tools/info_table.py -->\n", "<!-- /info -->\n"


def table() -> str:
    """The Markdown table, one row a key."""
    rows = ["| key | unit | meaning |", "| --- | --- | --- |"]
    for name, hint in get_type_hints(StepInfo, include_extras=True).items():
        key: Key = hint.__metadata__[0]
        rows.append(f"| `{name}` | {key.unit} | {key.meaning} |")
    return "\n".join(rows) + "\n"


def updated(page: str) -> str:
    """The page with today's table between its two marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
