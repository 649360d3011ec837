"""Where a world's messages go, and the error with which it refuses a call."""

from __future__ import annotations

from typing import Protocol


class CarlaError(Exception):
    """A call is refused; the client gets the text as its error."""


class Outlet(Protocol):
    """Where a world sends its messages: the server's streams."""

    def has_reader(self, stream_id: int) -> bool:
        """Whether anybody reads this stream."""

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        """Send one message, which is the parts joined."""

    def token(self, stream_id: int) -> bytes:
        """What tells a client where to read a stream."""


class NoReaders:
    """An outlet that nobody reads, for a world without a server."""

    def has_reader(self, stream_id: int) -> bool:
        return False

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        return

    def token(self, stream_id: int) -> bytes:
        return b""
