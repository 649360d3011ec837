"""The event loop: sockets, timers and calls from other threads, served by one thread.

asyncio is not used because a tick takes about as long as asyncio needs to wake up for a request.
This loop first polls its sockets for a moment without sleeping, see :data:`POLL_SECONDS`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("minicarla")

Handler = Callable[[int], None]
"""Called with the ready events of a socket (``selectors.EVENT_READ | EVENT_WRITE``)."""

POLL_SECONDS = 0.0003
"""How long the loop polls for the next request before it sleeps, while a client steps the world.

A sleeping process takes about as long to wake up as the world takes for a tick.
"""

_LONGEST_SLEEP = 3600.0


class Timer:
    """A callback that is due at a time of ``time.monotonic()``."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make sure that the callback is not called any more."""
        self.callback = None


class EventLoop:
    """Calls handlers of sockets that are ready, timers that are due, and what other threads ask for.

    :meth:`stop` and :meth:`call_from_thread` may be used from any thread and from signal handlers,
    everything else from the loop's own thread alone.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callable[[], None]] = deque()
        self._thread_calls: deque[Callable[[], None]] = deque()
        self._polls = len(os.sched_getaffinity(0)) > 1  # a single core is left to the client
        self._wake_read, self._wake_write = socket.socketpair()
        for sock in (self._wake_read, self._wake_write):
            sock.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    # ------------------------------------------------------------------ sockets

    def register(self, sock: socket.socket, events: int, handler: Handler) -> None:
        """Call ``handler`` whenever one of ``events`` is possible on a socket."""
        self._selector.register(sock, events, handler)

    def modify(self, sock: socket.socket, events: int, handler: Handler) -> None:
        """Change what a registered socket waits for; with events 0 it waits for nothing."""
        self._selector.modify(sock, events, handler)

    def unregister(self, sock: socket.socket) -> None:
        """Forget a socket.  One that is not registered is ignored."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    # ------------------------------------------------------------------ calls

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call a function in the next turn, after the sockets that are ready by then."""
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call a function at a time of ``time.monotonic()``, or a little later."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_from_thread(self, callback: Callable[[], None]) -> None:
        """Have the loop's thread call a function, between two requests."""
        self._thread_calls.append(callback)
        self._wake()

    def stop(self) -> None:
        """Set :attr:`stopping` and wake the loop up."""
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # the pipe is full, or the loop is closed
            self._wake_write.send(b"\0")

    def _woken(self, events: int) -> None:
        with contextlib.suppress(OSError):
            self._wake_read.recv(4096)
        while self._thread_calls:
            try:
                self._thread_calls.popleft()()
            except Exception:
                log.exception("a call from another thread failed")

    # ------------------------------------------------------------------ turns

    def turn(self, timeout: float | None, *, poll: bool) -> None:
        """Wait for something to do and do it.

        timeout: seconds to wait at most; None waits until there is something to do.
        poll: look for requests without sleeping at first, for the shortest delay.
        """
        if self._soon:
            timeout = 0.0
        else:
            while self._timers and self._timers[0][2].callback is None:
                heapq.heappop(self._timers)
            if self._timers:
                left = max(0.0, self._timers[0][0] - time.monotonic())
                timeout = left if timeout is None else min(timeout, left)
        waiting = len(self._soon)
        for key, events in self._ready(timeout, poll):
            key.data(events)
        while self._timers and self._timers[0][0] <= time.monotonic():
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()
        for _ in range(waiting):
            self._soon.popleft()()

    def _ready(self, timeout: float | None, poll: bool) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._selector.select(0.0)
        if poll and self._polls and timeout != 0.0:
            end = time.perf_counter() + POLL_SECONDS
            while not ready and time.perf_counter() < end:
                ready = self._selector.select(0.0)
        return ready or self._selector.select(timeout)

    def pause(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        """Serve no sockets and no timers for a while; :meth:`stop` and calls from threads still work.

        interrupted: asked after every call from another thread; True ends the pause early.
        """
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as pause:
            pause.register(self._wake_read, selectors.EVENT_READ)
            while not self.stopping and not interrupted():
                left = end - time.monotonic()
                if left <= 0:
                    break
                if pause.select(min(left, _LONGEST_SLEEP)):
                    self._woken(selectors.EVENT_READ)

    def close(self) -> None:
        """Free the loop's own sockets; those that were registered stay open."""
        self._wake_read.close()
        self._wake_write.close()
        self._selector.close()
