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


class TerminalDisplay:
    """A bar and one line of figures; fits 80 columns.  Context manager."""

    def __init__(self, console: Console, steps: int, max_minutes: float | None, start: int = 0) -> None:
        self.console = console
        self._steps, self._max_minutes = steps, max_minutes
        self._began, self._start = time.monotonic(), start
        self._last_plain = -math.inf
        self._figures = Text("starting the simulator ...")
        self._bar = Bar(
            TextColumn("[bold]train"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("train", total=steps, completed=start, left="--:--")
        self._live = (
            Live(Group(self._bar, self._figures), console=console, refresh_per_second=4)
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
        line = figures(progress)
        left = self._left(progress.step)
        if self._live:
            self._figures = Text.from_markup(line)
            self._bar.update(self._task, completed=progress.step, left=left)
            self._live.update(Group(self._bar, self._figures))
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            percent = 100 * progress.step / self._steps
            self.console.print(f"step {progress.step} ({percent:.0f} %), left {left}: {line}", soft_wrap=True)

    def message(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _left(self, step: int) -> str:
        elapsed = time.monotonic() - self._began
        done = step - self._start
        if done <= 0:
            return "--:--"
        seconds = elapsed / done * (self._steps - step)
        if self._max_minutes is not None:
            seconds = min(seconds, max(0.0, self._max_minutes * 60 - elapsed))
        hours, rest = divmod(int(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60:02d}:{rest % 60:02d}"


def figures(p: Progress) -> str:
    """The figures that matter, at most 80 columns."""
    alerts = f"[red]alerts {p.alerts}[/red]" if p.alerts else "alerts 0"
    restarts = f" restarts {p.restarts}" if p.restarts else ""
    return (
        f"{p.steps_per_s:.0f} steps/s {p.updates_per_s:.0f} upd/s  return {_number(p.episode_return)}"
        f" len {p.episode_length} route {_percent(p.route_completion)}  Q {_number(p.q)}  {alerts}{restarts}"
    )


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1f}"


def _percent(x: float) -> str:
    return "-" if math.isnan(x) else f"{100 * x:.0f}%"
