"""The progress of a training run on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from av_td3.training.logger import Progress

PLAIN_EVERY_S = 15.0
"""Seconds between two lines where the output is no terminal."""


class TerminalDisplay:
    """A bar and one line of figures; fits 80 columns.  Context manager."""

    def __init__(self, console: Console, steps: int, max_minutes: float | None, start: int = 0) -> None:
        """``steps`` and ``start`` are the steps that the run ends and begins at."""
        self.console = console
        self._steps = steps
        self._left = TimeLeft(steps, max_minutes)
        self._last_plain = -math.inf
        self._bar = Bar(
            TextColumn("[bold]train"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("train", total=steps, completed=start, left=UNKNOWN)
        self._live = (
            Live(self._picture(Text("starting the simulator ...")), console=console, refresh_per_second=4)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> TerminalDisplay:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def update(self, progress: Progress) -> None:
        """Show where training stands."""
        left = self._left.after(progress.step, progress.updates_per_s > 0)
        line = figures(progress)
        if self._live:
            self._bar.update(self._task, completed=progress.step, left=left)
            self._live.update(self._picture(Text.from_markup(line)))
        else:
            percent = 100 * progress.step / self._steps
            plain = Text.from_markup(line).plain
            self._plain(f"step {progress.step} ({percent:.0f} %), left {left}: {plain}")

    def status(self, text: str) -> None:
        """Show what is being done while no training steps are made."""
        if self._live:
            self._live.update(self._picture(Text(text)))
        else:
            self._plain(text)

    def message(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _picture(self, line: Text) -> Group:
        return Group(self._bar, line)

    def _plain(self, text: str) -> None:
        if time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self.message(text)


UNKNOWN = "--:--"


class TimeLeft:
    """Estimates how long training will still take.

    Steps before the first update are much faster than those after it, so the rate is measured from the
    first row of scalars with updates on.  Until then the time left is unknown.
    """

    def __init__(self, steps: int, max_minutes: float | None) -> None:
        self._steps, self._max_minutes = steps, max_minutes
        self._began = time.monotonic()
        self._learning: tuple[int, float] | None = None  # step and time of the first row with updates

    def after(self, step: int, learning: bool) -> str:
        """The time left at ``step``; ``learning``: updates were made since the last call."""
        now = time.monotonic()
        if self._learning is None:
            if learning:
                self._learning = step, now
            return UNKNOWN
        first, since = self._learning
        if step <= first:
            return UNKNOWN
        seconds = (now - since) / (step - first) * (self._steps - step)
        if self._max_minutes is not None:
            seconds = min(seconds, max(0.0, self._max_minutes * 60 - (now - self._began)))
        hours, rest = divmod(int(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60:02d}:{rest % 60:02d}"


def figures(p: Progress) -> str:
    """The figures that matter as one line of rich markup, at most 80 columns."""
    alerts = f"[red]alerts {p.alerts}[/red]" if p.alerts else "alerts 0"
    restarts = f" restarts {p.restarts}" if p.restarts else ""
    restarts += f" away {p.downtime_s:.0f}s" if p.downtime_s else ""
    return (
        f"{p.steps_per_s:.0f} steps/s {p.updates_per_s:.0f} upd/s  return {_number(p.episode_return)}"
        f" len {p.episode_length} route {_percent(p.route_completion)}  Q {_number(p.q)}  {alerts}{restarts}"
    )


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1f}"


def _percent(x: float) -> str:
    return "-" if math.isnan(x) else f"{100 * x:.0f}%"
