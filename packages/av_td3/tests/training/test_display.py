"""What the progress line says."""

from __future__ import annotations

import io

from rich.console import Console

from av_td3.training import display
from av_td3.training.display import TerminalDisplay, TimeLeft
from av_td3.training.logger import Progress


class Clock:
    """Stands for the time module."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(display.time, "monotonic", lambda: self.now)


def test_the_time_left_is_not_extrapolated_from_the_warm_up(monkeypatch):
    clock = Clock(monkeypatch)
    left = TimeLeft(11_000, None)
    clock.now = 10.0
    assert left.after(1_000, learning=False) == "--:--"  # 100 steps a second without updates
    clock.now = 20.0
    assert left.after(1_100, learning=True) == "--:--"  # updates have begun: the rate is not known yet
    clock.now = 30.0
    assert left.after(1_200, learning=True) == "16:20"  # 10 steps a second, 9,800 to go


def test_the_time_limit_bounds_the_time_left(monkeypatch):
    clock = Clock(monkeypatch)
    left = TimeLeft(1_000_000, 2.0)
    left.after(100, learning=True)
    clock.now = 60.0
    assert left.after(200, learning=True) == "01:00"


def test_a_run_that_is_resumed_measures_its_own_rate(monkeypatch):
    clock = Clock(monkeypatch)
    left = TimeLeft(20_000, None)
    left.after(10_000, learning=True)
    clock.now = 10.0
    assert left.after(10_100, learning=True) == "16:30"


def test_the_progress_moves_during_an_evaluation(monkeypatch):
    clock = Clock(monkeypatch)
    out = io.StringIO()
    shown = TerminalDisplay(Console(file=out, width=80), 1000, None)
    shown.update(Progress(step=100))
    clock.now = 20.0
    shown.status("step 100: evaluating on held-out routes: route 1 of 5, step 10")
    clock.now = 21.0
    shown.status("step 100: evaluating on held-out routes: route 1 of 5, step 20")
    clock.now = 40.0
    shown.status("step 100: evaluating on held-out routes: route 2 of 5, step 50")
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 and "route 1 of 5, step 10" in lines[1] and "route 2 of 5, step 50" in lines[2]
    out.truncate(0)
    terminal = TerminalDisplay(Console(file=out, width=80, force_terminal=True), 1000, None)
    with terminal:
        terminal.status("evaluating: route 3 of 5")
    assert "route 3 of 5" in out.getvalue()


def test_the_line_says_how_long_simulators_were_away():
    assert "restarts" not in display.figures(Progress()) and "away" not in display.figures(Progress())
    line = display.figures(Progress(restarts=12, downtime_s=345.4, alerts=0))
    assert line.endswith("restarts 12 away 345s")
