"""An evaluation on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from av_td3.evaluation.metrics import Comparison, compare, terminations
from av_td3.evaluation.rollout import Evaluation
from av_td3.evaluation.statistics import ConfidenceInterval

_PERCENT = (
    "route_completion",
    "success_rate",
    "clean_success_rate",
    "driving_score",
    "driving_score_2_1",
    "off_road_share",
    "low_ttc_share",
    "comfort_share",
)
_HEADLINE = (
    ("route_completion", "route\ndone %"),
    ("success_rate", "success\n%"),
    ("driving_score", "driving\nscore %"),
    ("collisions_per_km", "colli-\nsion/km"),
    ("red_lights_per_km", "red\nlight/km"),
    ("lane_invasions_per_km", "lane\ninv./km"),
    ("speed_kmh", "speed\nkm/h"),
)
_RIDE = (
    ("lateral_deviation_m", "off lane\ncentre m"),
    ("off_road_share", "off\nroad %"),
    ("jerk", "jerk\nm/s³"),
    ("comfort_share", "comfort\n%"),
    ("steer_change", "steer\nchange"),
    ("min_ttc_s", "least\nTTC s"),
    ("mean_reward", "\nreturn"),
)

_WIDTH, _AGENT = 80, 10
"""Columns of the terminal that the tables are made for, and of the agents' names."""


_FEW = 10
"""Episodes below which bootstrap intervals cover clearly less than they say (docs/evaluation.md)."""


def tables(comparison: Comparison, details: bool = True) -> RenderableType:
    """What ``av-td3 evaluate`` shows; fits 80 columns."""
    parts: list[RenderableType] = [_table(comparison, _HEADLINE, _title(comparison))]
    if details:
        parts += [Text(), _table(comparison, _RIDE, None), Text(), *_endings(comparison), Text()]
    parts += [Text(line) for line in verdicts(comparison)]
    return Group(*parts)


def show(results: Mapping[str, Evaluation] | Comparison, console: Console | None = None) -> Comparison:
    """Print the tables; returns the comparison that they show."""
    comparison = results if isinstance(results, Comparison) else compare(results)
    (console or Console()).print(tables(comparison))
    return comparison


def verdicts(comparison: Comparison) -> list[str]:
    """One sentence per other agent: the paired difference in route completion, and what it is worth."""
    lines = []
    for pair in comparison.pairs:
        p = pair.metrics.get("route_completion")
        if p is None:
            lines.append(f"{pair.first} and {pair.second} have no route in common.")
            continue
        d = p.difference
        lines.append(
            f"{pair.first} - {pair.second}: route completion {_points(d.estimate)} points "
            f"[{_points(d.low)}, {_points(d.high)}], better on {p.wins}, worse on {p.losses} of "
            f"{pair.routes} routes; intervals {'apart' if pair.disjoint['route_completion'] else 'overlap'}."
        )
    if min(len(e.episodes) for e in comparison.evaluations.values()) < _FEW:
        lines.append(f"Fewer than {_FEW} episodes: the intervals are narrower than they ought to be.")
    for name, evaluation in comparison.evaluations.items():
        if evaluation.simulator_faults:
            lines.append(f"{name}: {_failures(evaluation)}")
    return lines


def _failures(evaluation: Evaluation) -> str:
    """What the simulator's failures did to an evaluation, as a sentence."""
    times = "once" if evaluation.simulator_faults == 1 else f"{evaluation.simulator_faults} times"
    text = f"the simulator failed {times} during an episode, and the episode was driven again"
    missing = len(evaluation.abandoned_seeds)
    if missing:
        which = "1 episode is" if missing == 1 else f"{missing} episodes are"
        text += f"; {which} missing because every try failed"
    return text + "."


def markdown_header() -> str:
    """The two header lines for :func:`markdown_row`."""
    titles = ["agent", *(title.replace("-\n", "").replace("\n", " ").strip() for _, title in _HEADLINE)]
    return f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}"


def markdown_row(name: str, summary: Mapping[str, ConfidenceInterval]) -> str:
    """One agent: ``| name | 62 [48, 75] | ... |``."""
    cells = [in_line(metric, summary[metric]) for metric, _ in _HEADLINE]
    return f"| {name} | {' | '.join(cells)} |"


def markdown(comparison: Comparison) -> str:
    """All agents, for a README or a report."""
    rows = [markdown_row(name, summary) for name, summary in comparison.summaries.items()]
    return "\n".join([markdown_header(), *rows]) + "\n"


def write_json(path: Path, comparison: Comparison, extra: Mapping[str, Any] | None = None) -> None:
    """Write ``comparison.to_dict()``, and ``extra`` keys beside it, whole or not at all."""
    text = json.dumps({**comparison.to_dict(), **(extra or {})}, indent=1, allow_nan=False)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text + "\n")
    os.replace(temporary, path)


def _title(comparison: Comparison) -> str:
    counts = sorted({len(e.episodes) for e in comparison.evaluations.values()})
    episodes = " / ".join(map(str, counts))
    return f"{episodes} held-out episodes per agent; {100 * comparison.confidence:.0f} % intervals below"


def _table(comparison: Comparison, columns: tuple[tuple[str, str], ...], title: str | None) -> Table:
    rows = [
        (Text(name), [cell(metric, summary[metric]) for metric, _ in columns])
        for name, summary in comparison.summaries.items()
    ]
    widths = [
        max(
            len(line)
            for text in (header, *(cells[k].plain for _, cells in rows))
            for line in text.split("\n")
        )
        for k, (_, header) in enumerate(columns)
    ]
    roomy = _AGENT + sum(widths) + 2 * len(widths) <= _WIDTH
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1 if roomy else 0, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("\nagent", overflow="fold", min_width=_AGENT - 2, max_width=_AGENT)
    for _, header in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def cell(metric: str, interval: ConfidenceInterval) -> Text:
    """A figure, and its interval on a second line."""
    text = Text(_number(metric, interval.estimate))
    ends = _ends(metric, interval)
    if ends:
        text.append(f"\n{ends[0]}..{ends[1]}", style="dim")
    return text


def in_line(metric: str, interval: ConfidenceInterval) -> str:
    """A figure and its interval: ``62 [48, 75]``."""
    ends = _ends(metric, interval)
    return _number(metric, interval.estimate) + (f" [{ends[0]}, {ends[1]}]" if ends else "")


def _ends(metric: str, interval: ConfidenceInterval) -> tuple[str, str] | None:
    if interval.low is None and interval.high is None:
        return None
    low, high = (_number(metric, x, brief=True) for x in (interval.low, interval.high))
    if low == high:  # a narrow interval needs the digit
        low, high = (_number(metric, x) for x in (interval.low, interval.high))
    return low, high


def _endings(comparison: Comparison) -> list[Text]:
    lines = []
    for name, evaluation in comparison.evaluations.items():
        ends = ", ".join(f"{cause} {count}" for cause, count in terminations(evaluation).items())
        lines.append(Text(f"{name} ended by: {ends}"))
    return lines


def _number(metric: str, x: float | None, brief: bool = False) -> str:
    """Short enough for a column, precise enough to compare; ``brief`` for the ends of an interval."""
    if x is None:
        return "-"
    if metric in _PERCENT:
        x, brief = 100 * x, True
    size = abs(x)
    if size > 999 and metric.endswith("_per_km"):
        return ">999"  # hardly a metre was driven: the figure says no more than that
    if x == 0 or size >= (9.95 if brief else 99.5):
        return f"{x:.0f}"
    coarse = size >= 0.95 or (brief and metric in dict(_HEADLINE))
    return f"{x:.1f}" if coarse else f"{x:.2f}"


def _points(x: float | None) -> str:
    return "-" if x is None else f"{100 * x:+.0f}"
