"""When the tick of a client with Traffic Managers may be carried out and answered.

CARLA's client can lose a wake-up.  In synchronous mode each of its Traffic Managers repeats three steps:
it controls its vehicles by ``apply_batch``, it asks for ``get_episode_settings``, and it waits until the
client's main thread, which has ticked, wakes it for the next round.  The main thread does so without
holding the lock of the condition variable.  A wake-up at the moment when a Traffic Manager begins to
wait is lost, and the client hangs for ever.  CARLA's own ticks take so long that this is rare.  A tick of
a quarter of a millisecond met that moment once in a few hundred ticks.

So a client's tick is kept clear of that moment: it is carried out once all Traffic Managers of that
client have asked for the settings, and the client is told :data:`SETTLE_SECONDS` after the last of them
got its answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from minicarla.server.connections import ClientConnection
from minicarla.server.loop import EventLoop, Timer
from minicarla.wire import rpc

PATIENCE_SECONDS = 0.005
"""How long a tick waits at most for the client's Traffic Managers to ask for the settings."""
MISSES_ALLOWED = 3
"""After so many ticks that waited in vain, no tick waits until a Traffic Manager asks again."""
SETTLE_SECONDS = 0.0005
"""How long a Traffic Manager is given to begin to wait, from the answer to its question on."""

_COUNTED = frozenset({"tick_cue", "apply_batch", "get_episode_settings"})


@dataclass
class _Progress:
    """What one client's Traffic Managers have done since its last tick."""

    batches: int = 0
    asked: int = 0  # how often for the settings after a batch
    asked_at: float = 0.0  # time.monotonic() of the last answer
    misses: int = 0  # ticks in a row that waited in vain
    held: rpc.Request | None = None
    timer: Timer | None = None


class ManagerPacing:
    """Holds ticks back until the Traffic Managers of the client that sent them are ready.

    managers: how many Traffic Managers a client runs.
    carry_out: executes a tick that was held back.
    """

    def __init__(
        self,
        loop: EventLoop,
        managers: Callable[[ClientConnection], int],
        carry_out: Callable[[ClientConnection, rpc.Request], None],
    ) -> None:
        self._loop = loop
        self._managers = managers
        self._carry_out = carry_out
        self._progress: dict[ClientConnection, _Progress] = {}

    def hold(self, client: ClientConnection, request: rpc.Request) -> bool:
        """Whether this tick is held back; if so, ``carry_out`` is called for it later."""
        progress = self._progress.get(client)
        if progress is not None and progress.held is not None:  # two threads of the client tick in turn
            self._release(client, progress)
        managers = self._managers(client)
        if not managers:
            return False
        progress = self._progress.setdefault(client, _Progress())
        if progress.asked >= managers or progress.misses >= MISSES_ALLOWED:
            return False
        progress.held = request
        progress.timer = self._loop.call_at(
            time.monotonic() + PATIENCE_SECONDS, partial(self._give_up, client, progress)
        )
        return True

    def is_settling(self, client: ClientConnection) -> bool:
        """Whether :meth:`let_settle` has to be called before the client is told of its tick."""
        progress = self._progress.get(client)
        return progress is not None and progress.asked > 0 and progress.asked >= self._managers(client) > 0

    def let_settle(self, client: ClientConnection) -> None:
        """Wait until the client's Traffic Managers wait, at most :data:`SETTLE_SECONDS`."""
        left = self._progress[client].asked_at + SETTLE_SECONDS - time.monotonic()
        if left > 0.0:
            time.sleep(left)

    def answered(self, client: ClientConnection, name: str) -> None:
        """A request of the client has been answered."""
        if name not in _COUNTED:
            return
        progress = self._progress.setdefault(client, _Progress())
        if name == "tick_cue":
            progress.batches = progress.asked = 0
        elif name == "apply_batch":
            progress.batches += 1
        elif progress.asked < progress.batches:
            progress.asked += 1
            progress.asked_at = time.monotonic()
            progress.misses = 0
            if progress.held is not None and progress.asked >= self._managers(client):
                self._release(client, progress)

    def forget(self, client: ClientConnection) -> None:
        """The client has gone."""
        progress = self._progress.pop(client, None)
        if progress is not None and progress.timer is not None:
            progress.timer.cancel()

    def _give_up(self, client: ClientConnection, progress: _Progress) -> None:
        progress.misses += 1
        self._release(client, progress)

    def _release(self, client: ClientConnection, progress: _Progress) -> None:
        request, progress.held = progress.held, None
        if progress.timer is not None:
            progress.timer.cancel()
            progress.timer = None
        if request is not None:
            self._carry_out(client, request)
