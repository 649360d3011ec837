"""Tables that a training prints on the terminal, as they stand in a log of its output.

Stable-Baselines3, OpenAI baselines and Spinning Up print one such block for each row::

    | rollout/           |          |
    |    ep_rew_mean     | -152     |
    | time/              |          |
    |    total_timesteps | 20000    |
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np

from ..signals.systems import clock, x_axis
from ..store import BUDGET, Store
from .cells import number
from .source import ReadError, Source, open_binary

_LINE = re.compile(r"^\s*\|(\s*)([^|]*?[^|\s])\s*\|\s*([^|]*?)\s*\|\s*$")
_RULE = re.compile(r"^\s*[-=+]{5,}\s*$")
_EVALUATED = re.compile(r"Eval num_timesteps=(\d+), episode_reward=(-?[\d.]+(?:e[+-]?\d+)?)", re.I)
_LEAST_ROWS = 3


def looks_printed(path: Path) -> bool:
    """Whether a text holds printed tables in its first lines."""
    try:
        with open_binary(path) as file:
            lines = [x.decode("utf-8", "replace") for x in itertools.islice(file, 400)]
    except (OSError, EOFError):
        return False
    rows = sum(_cells(x) is not None for x in lines)
    return rows >= _LEAST_ROWS and sum(bool(_RULE.match(x)) for x in lines) >= 2


def _cells(line: str) -> tuple[int, str, str] | None:
    """(blanks before the name, name, value) of one line of a printed table."""
    found = _LINE.match(line)
    return (len(found[1]), found[2], found[3]) if found is not None else None


def read_printed(path: Path, budget: int = BUDGET) -> Source:
    """Read the printed tables of a log; every other line is passed over.

    Raises:
        ReadError: there are none, or they hold no numbers.
        OSError: the file cannot be read.
    """
    blocks: list[dict[str, float]] = []
    evaluations: list[tuple[float, float]] = []
    block: dict[str, float] = {}
    section = ""
    with open_binary(path) as file:
        for raw in file:
            line = raw.decode("utf-8", "replace")
            evaluated = _EVALUATED.search(line)
            if evaluated is not None:
                evaluations.append((float(evaluated[1]), float(evaluated[2])))
            cells = _cells(line)
            if cells is None:
                if _RULE.match(line):
                    section = ""
                    if block:
                        blocks.append(block)
                    block = {}
                continue
            indent, name, value = cells
            if not value:
                section = name if name.endswith("/") else ""
                continue
            parsed = number(value)
            if parsed is not None:
                block[section + name if indent > 1 else name] = parsed
    if block:
        blocks.append(block)
    if not blocks:
        raise ReadError("no printed table with numbers in it")
    names = list(dict.fromkeys(name for b in blocks for name in b))
    axis = x_axis(names)
    wall, elapsed = clock(names)
    column = names[axis.index] if axis is not None else None
    time = next((names[i] for i in (wall, elapsed) if i is not None), None)
    store = Store(budget)
    step = 0.0
    seconds = np.nan
    for row, b in enumerate(blocks):
        step = b.get(column, step) if column is not None else float(row)
        seconds = b.get(time, seconds) if time is not None else seconds
        for name, figure in b.items():
            if name not in (column, time):
                store.append(name, np.array([int(step)]), np.array([seconds]), np.array([figure]))
    if evaluations and "eval/mean_reward" not in store.series:
        steps, values = np.array(evaluations).T
        store.append("eval/mean_reward", steps.astype(np.int64), np.full(len(steps), np.nan), values)
    if not store.series:
        raise ReadError("the printed tables hold only steps and times")
    taken = tuple(n for n in (column, time) if n is not None)
    source = Source(path, "printed", store, axis.axis if axis is not None else "row", axis_columns=taken)
    cut = [n for n in names if n.endswith("...")]
    if cut:
        source.notes.append(
            f"{path.name}: names that were printed too long are cut off ({', '.join(cut[:3])})"
        )
    return source
