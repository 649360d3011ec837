"""Where a world's messages go, and how it refuses."""

from __future__ import annotations

from typing import Protocol


class CarlaError(Exception):
    """A refusal whose text the client gets to see."""


class Outlet(Protocol):
    """Where messages go: the server's streams."""

    def has_reader(self, stream_id: int) -> bool:
        """Whether anybody subscribed."""

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        """One message, its parts joined."""

    def token(self, stream_id: int, host: str | None = None) -> bytes:
        """Where to fetch a stream; ``host`` is this machine as the asking client sees it."""


class NoReaders:
    """An outlet that nobody reads: a world without a server."""

    def has_reader(self, stream_id: int) -> bool:
        return False

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        return

    def token(self, stream_id: int, host: str | None = None) -> bytes:
        return b""
