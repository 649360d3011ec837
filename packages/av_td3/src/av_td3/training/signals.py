"""SIGINT (Ctrl-C), SIGTERM and SIGHUP: leave in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from av_td3.training.agents import Action, Observation

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, ``kill`` or the end of a container, and the terminal that is closed."""

_received: int | None = None


@contextmanager
def terminable() -> Iterator[None]:
    """While a command sets up and tears down, each of these signals unwinds it like Ctrl-C.

    So every child process is ended on the way out.  The signal is remembered as well as raised: an
    import with a bare ``except`` in some library (torch's lazy ones have them) can swallow the
    KeyboardInterrupt; see :func:`raise_if_received`.
    """
    global _received
    _received = None

    def handle(number: int, _frame: FrameType | None) -> None:
        global _received
        _received = number
        raise KeyboardInterrupt

    with _handled(handle):
        try:
            yield
        finally:
            _received = None


def raise_if_received() -> None:
    """Raise the KeyboardInterrupt of a signal that somebody swallowed."""
    if _received is not None:
        raise KeyboardInterrupt


class StopRequested(Exception):  # noqa: N818 - not an error
    """Raised where something long was left off because of a request to stop."""


class StopRequest:
    """A request to stop training, made by a signal.

    The first signal lets the present step end.  A single update may take minutes, with large batches on
    a slow processor; after :attr:`GRACE_S` it is left off.  A second signal ends everything at once.
    """

    GRACE_S = 5.0
    """Docker and systemd kill what has not ended 10 to 90 seconds after a SIGTERM."""

    def __init__(self) -> None:
        self.requested = False
        self._may_leave_off = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take signals as requests while the block lasts."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True
            signal.setitimer(signal.ITIMER_REAL, self.GRACE_S)

        def grace_is_over(_number: int, _frame: FrameType | None) -> None:
            if self._may_leave_off:
                raise StopRequested

        with _handled(handle):
            old = signal.signal(signal.SIGALRM, grace_is_over)
            try:
                raise_if_received()
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, old)

    @contextmanager
    def may_leave_off(self) -> Iterator[None]:
        """Within this block, StopRequested is raised when the grace is over."""
        self._may_leave_off = True
        try:
            yield
        finally:
            self._may_leave_off = False

    def obeyed_by(self, policy: Callable[[Observation], Action]) -> Callable[[Observation], Action]:
        """The policy, which raises StopRequested instead of acting once a stop is requested."""

        def obeying(observation: Observation) -> Action:
            if self.requested:
                raise StopRequested
            return policy(observation)

        return obeying


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # Under nohup SIGHUP is ignored, and stays so.
    numbers = [n for n in ENDING if not (n == signal.SIGHUP and signal.getsignal(n) == signal.SIG_IGN)]
    old = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
