"""When a client's tick has to wait for the client's own readers.

CARLA's client handles a message in the thread that reads its stream: while a callback saves a picture,
nothing is read.  In synchronous mode CARLA loses no message of such a reader (``ServerSession::Write`` waits
for the message before).  Here the next tick of that client waits until the reader is within its limit again.
It is not carried out before, so a reader is behind by its limit and the messages of one tick at most.

A tick does not wait for the readers of other clients: somebody who watches must not slow a program down.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from minicarla.server.connections import ClientConnection
from minicarla.server.loop import EventLoop, Timer
from minicarla.wire import rpc
from minicarla.wire.schema import WireError

MAX_HELD = 64
"""Ticks of one client that are held back; a thread of CARLA's client waits for each."""


class _Held(NamedTuple):
    requests: list[rpc.Request]
    timer: Timer


class Backlog:
    """Holds ticks back while readers of the client that sent them are too far behind.

    waits: until when (``time.monotonic()``) to wait for a client's readers, see ``Streams.behind_until``.
    carry_out: executes a tick that was held back.
    """

    def __init__(
        self,
        loop: EventLoop,
        waits: Callable[[ClientConnection], float],
        carry_out: Callable[[ClientConnection, rpc.Request], None],
    ) -> None:
        self._loop = loop
        self._waits = waits
        self._carry_out = carry_out
        self._held: dict[ClientConnection, _Held] = {}

    def hold(self, client: ClientConnection, request: rpc.Request) -> bool:
        """Whether this request is held back; if so, ``carry_out`` is called for it later."""
        if request.name not in ("tick_cue", "apply_batch"):
            return False
        held = self._held.get(client)
        if held is None:
            until = self._waits(client)
            if until <= time.monotonic() or not _ticks(request):
                return False
            self._held[client] = _Held([request], self._loop.call_at(until, partial(self._release, client)))
        elif len(held.requests) == MAX_HELD or not _ticks(request):
            return False
        else:
            held.requests.append(request)
        return True

    def taken(self, client: ClientConnection) -> None:
        """A reader of the client has taken something, or has gone."""
        if client in self._held and self._waits(client) <= time.monotonic():
            # Not at once: a reader may go in the middle of a tick.
            self._loop.call_soon(partial(self._release, client))

    def _release(self, client: ClientConnection) -> None:
        for request in self.forget(client):  # the first may make the others wait again
            if not self.hold(client, request):
                self._carry_out(client, request)

    def forget(self, client: ClientConnection) -> list[rpc.Request]:
        """The client has gone; returns what was held."""
        held = self._held.pop(client, None)
        if held is None:
            return []
        held.timer.cancel()
        return held.requests


def _ticks(request: rpc.Request) -> bool:
    """Whether a request advances the world."""
    if request.name == "apply_batch":
        with contextlib.suppress(WireError):
            return request.arguments()[1:2] == [True]
        return False
    return request.name == "tick_cue"
