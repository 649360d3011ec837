"""SIGTERM and Ctrl-C, while a command sets up and tears down."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_received: int | None = None


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that every child process is ended on the way out.

    A signal is remembered as well as raised: an import with a bare ``except`` somewhere in a
    library (torch's lazy ones have them) can swallow the KeyboardInterrupt.
    """
    global _received
    _received = None

    def handle(number: int, _frame: object) -> None:
        global _received
        _received = number
        raise KeyboardInterrupt

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _received = None
        for number, handler in old.items():
            signal.signal(number, handler)


def raise_if_received() -> None:
    """Raise the KeyboardInterrupt of a signal that somebody swallowed."""
    if _received is not None:
        raise KeyboardInterrupt
