"""Draws learning curves of runs: the mean over the seeds of a method, and the range of its seeds.

    python -m benchmarks.learning_curves --png FILE float32=runs/a-s0 float32=runs/a-s1 bfloat16=runs/b-s0 ...
    python -m benchmarks.learning_curves --png FILE runs/comparison      # a folder: all runs in it, by method

Each value is the mean of the training episodes that ended within ``--window`` steps before it, and these are
driven with exploration noise.  Runs with the same label are seeds of one method.  Their last values are
printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import run_table
from rundoctor import load_runs

Array = NDArray[np.float64]
POINTS = 100
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of Okabe and Ito, which people with colour blindness tell apart."""


def methods(inputs: Iterable[str]) -> dict[str, list[Path]]:
    """The runs of each label; a folder that is no run stands for the runs in it."""
    found: dict[str, list[Path]] = {}
    for text in inputs:
        label, separator, path = text.rpartition("=")
        folder = Path(path)
        single = (folder / "config.yaml").exists()
        for run in [folder] if single else sorted(p.parent for p in folder.glob("*/config.yaml")):
            name = label if separator else run_table.method_of(run)
            found.setdefault(name, []).append(run)
    if not found:
        raise SystemExit("none of these is a run, or a folder of runs")
    return found


def curve(run: Path, tag: str, grid: Array, window: float) -> Array:
    """(n,): at each step of the grid the mean of the window before it, NaN where no episode ended."""
    series = load_runs([run]).runs[0].series.get(tag)
    if series is None:
        raise SystemExit(f"{run} has no {tag}")
    sums = np.concatenate([[0.0], np.cumsum(series.value)])
    first, last = (np.searchsorted(series.step, ends, side="right") for ends in (grid - window, grid))
    with np.errstate(invalid="ignore"):
        return np.asarray((sums[last] - sums[first]) / (last - first), dtype=np.float64)


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="[LABEL=]RUN")
    parser.add_argument("--png", type=Path, required=True, metavar="FILE")
    parser.add_argument("--tag", default="train/route_completion")
    parser.add_argument("--title", default="", help="of the vertical axis; default: the tag")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--window", type=float, default=1_000.0, metavar="STEPS")
    options = parser.parse_args()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(options.window, options.steps, POINTS)
    for (label, runs), colour in zip(methods(options.inputs).items(), cycle(COLOURS), strict=False):
        curves = np.array([curve(run, options.tag, grid, options.window) for run in runs])
        axes.plot(
            grid, curves.mean(0), color=colour, label=f"{label}, {len(runs)} seed{'s' * (len(runs) > 1)}"
        )
        axes.fill_between(grid, curves.min(0), curves.max(0), color=colour, alpha=0.15, linewidth=0)
        ends = ", ".join(f"{value:.3g}" for value in curves[:, -1])
        print(f"{label}: last {options.window:.0f} steps: {ends}")
    axes.set_xlabel("environment steps")
    axes.set_ylabel(options.title or options.tag)
    axes.grid(alpha=0.3)
    if options.tag.endswith("route_completion"):
        axes.set_ylim(0.0, 1.02)
    axes.legend(frameon=False)
    figure.savefig(options.png)


if __name__ == "__main__":
    main()
