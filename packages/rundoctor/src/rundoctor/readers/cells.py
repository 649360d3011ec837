"""Cells of tables and the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..signals.words import says_percent
from ..stats import Floats

ABSENT = {"", "none", "null", "na", "n/a", "-", "--", "#n/a", "<na>"}
_TRUTH = {"true": 1.0, "false": 0.0}
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?")


def number(cell: str) -> float | None:
    """The number in a cell; None where there is none."""
    try:
        return float(cell)
    except ValueError:
        pass
    text = cell.strip().lower()
    if text in _TRUTH:
        return _TRUTH[text]
    if text.endswith("%"):
        share = number(text[:-1])
        return share / 100 if share is not None else None
    found = re.fullmatch(r"[a-z_][a-z0-9_.]*\(\[*([^],)]+)\]*(?:,.*)?\)|\[([^],]+)\]", text)
    return number(found.group(1) or found.group(2)) if found is not None else None


@dataclass
class Column:
    """One column while it is being read."""

    name: str
    semicolons: bool
    """Whether the delimiter is no comma, so that a comma in a cell is a decimal one."""
    numbers: int = 0
    unreadable: int = 0
    sample: str = ""
    """The first cell that is no number."""

    def convert(self, cells: Sequence[str]) -> tuple[npt.NDArray[np.int64] | None, Floats]:
        """Rows that hold a number (None: all of them) and the numbers."""
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            pass
        else:
            self.numbers += len(cells)
            return None, values
        known = self._meanings(set(cells))
        rows = [i for i, cell in enumerate(cells) if cell in known]
        self.numbers += len(rows)
        values = np.fromiter((known[cells[i]] for i in rows), np.float64, len(rows))
        return np.asarray(rows, np.int64), values

    def _meanings(self, cells: set[str]) -> dict[str, float]:
        known: dict[str, float] = {}
        # where the name says per cent as well, the numbers stay what they are
        percent = says_percent(self.name)
        with_commas = []
        bad = []
        for cell in cells:
            value = number(cell.rstrip().removesuffix("%") if percent else cell)
            if value is not None:
                known[cell] = value
            elif DECIMAL_COMMA.fullmatch(cell.strip()) or _THOUSANDS.fullmatch(cell.strip()):
                with_commas.append(cell)
            elif cell.strip().lower() not in ABSENT:
                bad.append(cell)
        thousands = not self.semicolons and all(_THOUSANDS.fullmatch(c.strip()) for c in with_commas)
        for cell in with_commas:
            text = cell.strip()
            plain = text.replace(",", "") if thousands else text.replace(".", "").replace(",", ".")
            known[cell] = float(plain)
        if bad:
            self.unreadable += len(bad)
            self.sample = self.sample or min(bad)
        return known
