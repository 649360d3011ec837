"""JSON of the findings and CSV of every series."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..compare import RunComparison
from ..model import Report
from ..run import Run
from ..series import Series


def to_json(reports: Sequence[Report], comparison: RunComparison | None, problems: Sequence[str]) -> str:
    """One run: the document of docs/diagnosis.md; several: ``{"runs": [...], "comparison": ...}``."""
    document: dict[str, Any]
    if len(reports) == 1:
        document = reports[0].to_json()
    else:
        document = {"schema": 1, "runs": [r.to_json() for r in reports]}
        if comparison is not None:
            document["comparison"] = comparison.to_json()
    document["problems"] = list(problems)
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)


def safe_name(text: str) -> str:
    """A file name for a tag or a run: slashes become two underscores."""
    name = re.sub(r"[^\w.+-]+", "_", text.replace("/", "__"))
    return name.strip(".")[:150] or "unnamed"


def write_csv(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Every series of every run as ``<tag>.csv`` with step, wall_time and value, and an index.

    Folded series have the columns min, max and points of each bucket besides its mean.  With several
    runs each has a folder of its own.
    """
    out = []
    for run in runs:
        place = folder if len(runs) == 1 else folder / safe_name(run.name)
        place.mkdir(parents=True, exist_ok=True)
        names: set[str] = set()
        with (place / "index.csv").open("w", newline="", encoding="utf-8") as file:
            index = csv.writer(file)
            index.writerow(
                ["tag", "file", "axis", "points", "first_step", "last_step", "min", "max", "non_finite"]
            )
            for tag in sorted(run.series):
                s = run.series[tag]
                name = safe_name(tag)
                while name.lower() in names:
                    name += "_"
                names.add(name.lower())
                path = place / f"{name}.csv"
                _write_series(path, s)
                out.append(path)
                low = s.lowest.value if s.lowest else math.nan
                high = s.highest.value if s.highest else math.nan
                index.writerow(
                    [
                        tag,
                        path.name,
                        s.axis,
                        s.count,
                        s.first.step,
                        s.last.step,
                        repr(low),
                        repr(high),
                        s.nonfinite,
                    ]
                )
    return out


def _write_series(path: Path, s: Series) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "wall_time", "value", *(["min", "max", "points"] if s.folded else [])])
        columns = [s.step.astype(int).tolist(), s.wall.tolist(), s.value.tolist()]
        if s.folded:
            columns += [s.low.tolist(), s.high.tolist(), s.weight.astype(int).tolist()]
        for row in zip(*columns, strict=True):
            writer.writerow(["" if i == 1 and math.isnan(x) else repr(x) for i, x in enumerate(row)])
