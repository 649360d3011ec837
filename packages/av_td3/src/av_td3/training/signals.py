"""SIGINT (Ctrl-C), SIGTERM and SIGHUP: leave in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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


class StopRequest:
    """Asks the training loop to stop: the first signal after the present step, the second at once."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals as requests while the block lasts."""

        def handle(_number: int, _frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True

        with _handled(handle):
            raise_if_received()
            yield


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
