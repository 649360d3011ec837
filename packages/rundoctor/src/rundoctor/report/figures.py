"""The plots of a report as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..model import INFO, WARNING, Report
from .export import safe_name
from .plots import Plot, first_onset, overview, plots_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#6c3483", "#566573")


def write_figures(reports: Sequence[Report], folder: Path) -> dict[str, list[Path]]:
    """Draw an overview of each run and a figure for each finding above info.

    Returns:
        the files of each run, by run name: the overview first.
    """
    # The object interface with the Agg canvas: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    out: dict[str, list[Path]] = {}
    for report in reports:
        paths = out.setdefault(report.run.name, [])
        groups = [("overview", f"{report.run.name}: overview", overview(report.run))]
        for finding in report.findings:
            if finding.severity > INFO:
                groups.append(
                    (finding.id, f"{report.run.name}: {finding.title}", plots_of(finding, report.run))
                )
        for key, title, plots in groups:
            if not plots:
                continue
            columns = min(3 if key == "overview" else 2, len(plots))
            rows = -(-len(plots) // columns)
            figure = Figure(figsize=(5.2 * columns, 3.2 * rows + 0.5), layout="constrained")
            FigureCanvasAgg(figure)
            figure.suptitle(title, fontsize=11, fontweight="bold")
            flat: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
            for axis, plot in zip(flat, plots, strict=False):
                if key == "overview" and report.severity >= WARNING:
                    plot.onset = first_onset(report)
                _draw(axis, plot)
            for axis in flat[len(plots) :]:
                axis.set_visible(False)
            path = folder / f"{safe_name(report.run.name)}-{key}.png"
            figure.savefig(path, dpi=110)
            paths.append(path)
    return out


def _draw(axis: Axes, plot: Plot) -> None:
    lonely = all(len(c.x) < 40 for c in plot.curves)
    for color, c in zip(COLORS * 4, plot.curves, strict=False):
        if c.low is not None and c.high is not None:
            axis.fill_between(c.x, c.low, c.high, color=color, alpha=0.18, linewidth=0)
        y = np.where(c.y > 0, c.y, np.nan) if plot.log else c.y
        axis.plot(
            c.x, y, color=color, linewidth=1.4, marker="o" if lonely else None, markersize=3, label=c.name
        )
    for name, value in plot.limits:
        axis.axhline(value, color="#444", linewidth=1, linestyle="--")
        axis.annotate(
            name, (0.01, value), xycoords=("axes fraction", "data"), fontsize=7, va="bottom", color="#444"
        )
    if plot.onset is not None:
        axis.axvline(plot.onset, color="#c0392b", linewidth=1, linestyle=":")
    if plot.log:
        axis.set_yscale("log")
    axis.set_title(plot.title, fontsize=9)
    axis.set_xlabel(plot.xlabel, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(True, alpha=0.25)
    axis.legend(fontsize=7, loc="best")
