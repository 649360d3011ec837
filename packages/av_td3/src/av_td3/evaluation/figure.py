"""A picture of an evaluation: how far each held-out route was driven, and what ended the drive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from av_td3.evaluation.metrics import terminations
from av_td3.evaluation.rollout import Evaluation

MOST_ROUTES = 100
"""Routes that are drawn; of more, the first so many.  It bounds the picture's size."""
_WIDTH_IN, _DPI = 4.4, 110  # TensorBoard shows 350 pixels of width
# The colours of Okabe and Ito, which people with colour blindness tell apart.
_COLOURS = {
    "success": "#009e73",
    "time_limit": "#56b4e9",
    "stuck": "#999999",
    "lane_invasion": "#f0e442",
    "off_road": "#e69f00",
    "wrong_way": "#cc79a7",
    "red_light": "#0072b2",
    "collision": "#d55e00",
}
_OTHER = "#000000"
_MARKERS = ("x", "+", "D", "1", "2")


def draw_routes(evaluations: Mapping[str, Evaluation], file: Path, title: str = "") -> None:
    """Write a PNG: a bar for each route of the first agent, and a mark on it for each other agent.

    Args:
        evaluations: by the agents' names; routes are matched by their seeds.
        file: replaced as a whole.
        title: above the picture.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # only when something is drawn: it takes a second to load

    (name, first), *others = evaluations.items()
    routes = first.episodes[:MOST_ROUTES]
    row = {episode.seed: index for index, episode in enumerate(routes)}
    figure = Figure(figsize=(_WIDTH_IN, 1.4 + max(0.8, 0.16 * len(routes))), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(routes)), 100.0, height=0.8, color="#eeeeee")
    for cause, count in terminations(first).items():
        ended = [e for e in routes if e.termination == cause]
        axes.barh(
            [row[e.seed] for e in ended],
            [100 * e.route_completion for e in ended],
            height=0.8,
            color=_COLOURS.get(cause, _OTHER),
            label=f"{cause.replace('_', ' ')} ({count})",
        )
    for (other, evaluation), marker in zip(others, _MARKERS, strict=False):
        driven = [e for e in evaluation.episodes if e.seed in row]
        axes.plot(
            [100 * e.route_completion for e in driven],
            [row[e.seed] for e in driven],
            marker,
            color="black",
            markersize=5,
            label=other,
            clip_on=False,
        )
    more = "" if len(routes) == len(first.episodes) else f", the first {len(routes)}"
    lengths = [f"{e.route_length_m:.0f} m" for e in routes]
    axes.set_yticks(range(len(routes)), lengths, fontsize=8 if len(routes) <= 40 else 4)
    axes.set(xlim=(0, 100), ylim=(len(routes) - 0.4, -0.6), xlabel="route completed, %")
    axes.set_title(title or name, fontsize=9)
    axes.set_ylabel(f"routes{more}", fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        figure.savefig(temporary, format="png")
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
