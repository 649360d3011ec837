"""SIGINT (Ctrl-C), SIGTERM and SIGHUP: leave in good order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from av_td3.training.agents import Action, Observation

P = ParamSpec("P")
T = TypeVar("T")

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
    a slow processor, and so may an evaluation whose simulator does not come up; after :attr:`GRACE_S` they
    are left off.  A second signal ends everything at once, after
    :attr:`HARD_S` also where a single call into C++ does not let Python come to its turn.
    """

    GRACE_S = 5.0
    """Docker and systemd kill what has not ended 10 to 90 seconds after a SIGTERM."""

    HARD_S = 2.0

    def __init__(self) -> None:
        self.requested = False
        self._left = threading.Event()
        """A second signal has been handled, or there is none to handle any more."""
        self._may_leave_off = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take signals as requests while the block lasts."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self.requested:
                self._left.set()
                raise KeyboardInterrupt
            self.requested = True
            signal.setitimer(signal.ITIMER_REAL, self.GRACE_S)

        def grace_is_over(_number: int, _frame: FrameType | None) -> None:
            if self._may_leave_off:
                raise StopRequested

        with _handled(handle):
            old = signal.signal(signal.SIGALRM, grace_is_over)
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            # Python's handlers wait for the main thread; this descriptor is written to at once.
            wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
            try:
                raise_if_received()
                yield
            finally:
                self._left.set()
                signal.set_wakeup_fd(wakeup)
                os.close(writer)  # ends the thread
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, old)

    def _watch(self, reader: int) -> None:
        """End the process when the main thread does not handle a second signal."""
        received = 0
        while data := os.read(reader, 64):
            for number in data:
                received += number in ENDING
                if received > 1 and not self._left.wait(self.HARD_S):
                    os._exit(128 + number)  # children notice: see supervision.process
        os.close(reader)

    @contextmanager
    def may_leave_off(self) -> Iterator[None]:
        """Within this block, StopRequested is raised when the grace is over."""
        self._may_leave_off = True
        try:
            yield
        finally:
            self._may_leave_off = False

    def leaves_off(self, work: Callable[P, T]) -> Callable[P, T]:
        """The same work, in which StopRequested is raised when the grace is over: it may wait for a simulator
        that does not come up."""

        def leaving_off(*arguments: P.args, **keywords: P.kwargs) -> T:
            with self.may_leave_off():
                return work(*arguments, **keywords)

        return leaving_off

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
