"""When a client's tick is carried out and told, by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from minicarla.server import pacing
from minicarla.server.connections import ClientConnection
from minicarla.server.loop import EventLoop, Timer
from minicarla.server.pacing import MISSES_ALLOWED, PATIENCE_SECONDS, SETTLE_SECONDS, ManagerPacing
from minicarla.wire.rpc import Request


class Clock:
    """Stands in for the module ``time`` and for the loop's timers."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def pass_seconds(self, seconds: float) -> None:
        self.now += seconds
        for timer in self.timers:
            if timer.when <= self.now and timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()


class Stage:
    """A client, its Traffic Managers, and the ticks that were carried out."""

    def __init__(self, clock: Clock, managers: int) -> None:
        self.clock = clock
        self.client = cast(ClientConnection, object())
        self.ticks: list[int] = []
        self.managers = managers
        self.pacing = ManagerPacing(cast(EventLoop, clock), lambda client: self.managers, self._carry_out)

    def _carry_out(self, client: Any, request: Request) -> None:
        self.ticks.append(request.id)
        self.pacing.answered(client, "tick_cue")

    def tick(self, number: int) -> bool:
        """Whether a tick of the client is held back."""
        request = Request(number, "tick_cue", b"\x90")
        held = self.pacing.hold(self.client, request)
        if not held:
            self._carry_out(self.client, request)
        return held

    def manager_rounds(self, count: int = 1) -> None:
        """What Traffic Managers do before they wait: control the vehicles, ask for the settings."""
        for _ in range(count):
            self.pacing.answered(self.client, "apply_batch")
        for _ in range(count):
            self.pacing.answered(self.client, "get_episode_settings")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def test_without_a_traffic_manager_nothing_waits(clock: Clock) -> None:
    stage = Stage(clock, managers=0)
    stage.manager_rounds()
    assert not stage.tick(1)
    assert not stage.pacing.is_settling(stage.client)


def test_a_tick_is_carried_out_once_all_traffic_managers_have_asked(clock: Clock) -> None:
    stage = Stage(clock, managers=2)
    stage.manager_rounds()
    assert stage.tick(1)
    stage.manager_rounds()
    assert stage.ticks == [1]
    assert stage.tick(2), "what was asked belongs to the first tick"


def test_a_question_without_a_batch_is_the_users_own(clock: Clock) -> None:
    stage = Stage(clock, managers=1)
    stage.pacing.answered(stage.client, "get_episode_settings")
    assert stage.tick(1)


def test_the_client_is_told_after_the_traffic_manager_has_had_time_to_wait(clock: Clock) -> None:
    stage = Stage(clock, managers=1)
    stage.manager_rounds()
    asked = clock.now
    clock.now += 0.25 * SETTLE_SECONDS
    assert not stage.pacing.hold(stage.client, Request(1, "tick_cue", b"\x90"))
    assert stage.pacing.is_settling(stage.client)
    stage.pacing.let_settle(stage.client)
    assert clock.now == pytest.approx(asked + SETTLE_SECONDS)
    stage.pacing.let_settle(stage.client)
    assert clock.now == pytest.approx(asked + SETTLE_SECONDS), "time that has passed is not waited for again"


def test_a_traffic_manager_that_never_asks_holds_a_few_ticks_back_and_then_none(clock: Clock) -> None:
    stage = Stage(clock, managers=1)
    for number in range(MISSES_ALLOWED):
        assert stage.tick(number)
        clock.pass_seconds(0.9 * PATIENCE_SECONDS)
        assert len(stage.ticks) == number
        clock.pass_seconds(0.2 * PATIENCE_SECONDS)
        assert len(stage.ticks) == number + 1
    assert not stage.tick(10)
    stage.manager_rounds()
    assert not stage.tick(11)
    assert stage.tick(12), "it has asked again, so it is waited for again"


def test_two_threads_that_tick_do_so_one_after_the_other(clock: Clock) -> None:
    stage = Stage(clock, managers=1)
    assert stage.tick(1) and stage.tick(2)
    assert stage.ticks == [1]
    stage.pacing.forget(stage.client)
    clock.pass_seconds(2 * PATIENCE_SECONDS)
    assert stage.ticks == [1], "the tick of a client that has gone is not carried out"
