"""The server: a :class:`~minicarla.world.world.World` behind two ports.

Port P answers remote procedure calls, port P + 1 serves the streams.  One thread does everything.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from minicarla.faults import FaultInjector, ServerFault
from minicarla.server.backlog import Backlog
from minicarla.server.connections import ClientConnection, Listener, SocketConnection, bind_pair
from minicarla.server.limits import full_of_clients, full_of_readers
from minicarla.server.loop import EventLoop
from minicarla.server.pacing import ManagerPacing
from minicarla.server.streams import StreamConnection, Streams
from minicarla.server.untold import UntoldErrors
from minicarla.wire import rpc
from minicarla.world.calls import Call, answer, failure
from minicarla.world.calls.traffic import forget_session
from minicarla.world.world import FREE_RATE, World

log = logging.getLogger("minicarla")


class _RequestAbandonedError(BaseException):
    """The server restarts in the middle of a tick: the request gets no answer."""


class CarlaServer:
    """A CARLA 0.9.16 server in this process.

    port: of the remote procedure calls; the streams use the next one.  0 picks a free pair.
    host: address to listen on.
    map: a bundled map's name, an .xodr file, or the name of one in map_folder.
    map_folder: a folder whose .xodr files clients may load by name.
    npc, walkers: vehicles and pedestrians that the server drives itself.
    seed: of traffic and of sensors' noise.
    synchronous: wait for ``tick`` from the start.  Otherwise the world ticks at 20 Hz until a client
        calls ``apply_settings``, and the number of those ticks depends on the time that passes.
    faults: failures to inject, see :mod:`minicarla.faults`.

    Attributes:
        host, port, stream_port: where clients reach the server.
        world: what it simulates.  Only the server's thread may use it, see :meth:`call`.

    Raises:
        OSError: a port is taken.
        FileNotFoundError, ValueError: the map cannot be used.
        FaultError: the faults cannot be read.
    """

    def __init__(
        self,
        port: int = 2000,
        *,
        host: str = "127.0.0.1",
        map: str = "town",
        map_folder: str = "",
        npc: int = 0,
        walkers: int = 0,
        seed: int = 0,
        synchronous: bool = False,
        faults: str | FaultInjector = "",
    ) -> None:
        self.faults = faults if isinstance(faults, FaultInjector) else FaultInjector(faults)
        self.connections: set[SocketConnection] = set()
        self.streams = Streams(self.faults, self._sensor_type)
        self._untold = UntoldErrors()
        self._loop = EventLoop()
        self._pacing = ManagerPacing(self._loop, self._count_managers, self._carry_out)
        self._backlog = Backlog(self._loop, self.streams.behind_until, self._pace)
        self._listeners: list[Listener] = []
        self._free_tick_due = 0.0
        self._finish_failed = False
        self._restart_after: float | None = None
        try:
            self.host = host
            self._listen(port)
            self._make_world: Callable[[], World] = lambda: World(
                map,
                seed=seed,
                npc=npc,
                walkers=walkers,
                map_folder=map_folder,
                outlet=self.streams,
                synchronous=synchronous,
                before_tick=self._before_tick,
            )
            self.world = self._make_world()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ life

    def run(self) -> None:
        """Serve until :meth:`stop`; then close everything."""
        self._free_tick_due = time.monotonic()
        try:
            while not self._loop.stopping:
                synchronous = self.world.settings.synchronous_mode
                timeout = None if synchronous else self._tick_freely()
                self._loop.turn(timeout, poll=synchronous)
                if self.faults:
                    self._strike(ticking=False)
                if self._restart_after is not None:
                    self._restart(self._restart_after)
        finally:
            self.close()

    def stop(self) -> None:
        """Make :meth:`run` return.  May be called from other threads and from signal handlers."""
        self._loop.stop()

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called in the server's thread, between two requests."""
        self._loop.call_from_thread(function)

    def close(self) -> None:
        """Close all sockets."""
        self._stop_listening()
        self._disconnect_all()
        self._loop.close()

    def _tick_freely(self) -> float:
        """Tick if it is time, with no client that asks for it; seconds until it is time again."""
        now = time.monotonic()
        if now >= self._free_tick_due:
            try:
                self.world.tick()
            except _RequestAbandonedError:
                pass
            except Exception:
                log.exception("the tick failed")
            self._free_tick_due = max(self._free_tick_due + 1.0 / FREE_RATE, now)
        return max(0.0, self._free_tick_due - time.monotonic())

    # ------------------------------------------------------------------ connections

    def _listen(self, port: int) -> None:
        calls, streams = bind_pair(self.host, port)
        self.host, self.port = calls.getsockname()
        self.stream_port: int = streams.getsockname()[1]
        self.streams.port = self.stream_port
        self._listeners = [
            Listener(
                self._loop,
                calls,
                self.connections,
                self._connect_client,
                lambda: full_of_clients(self.connections),
            ),
            Listener(
                self._loop,
                streams,
                self.connections,
                self._connect_reader,
                lambda: full_of_readers(self.connections, self.streams.serves),
            ),
        ]

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _connect_client(self, sock: socket.socket) -> SocketConnection:
        return ClientConnection(self._loop, sock, self._disconnected, self)

    def _connect_reader(self, sock: socket.socket) -> SocketConnection:
        return StreamConnection(self._loop, sock, self._disconnected, self.streams.subscribed, self._taken)

    def _disconnected(self, connection: SocketConnection) -> None:
        self.connections.discard(connection)
        self.streams.forget(connection)
        if isinstance(connection, ClientConnection):
            self._backlog.forget(connection)
            self._pacing.forget(connection)
            forget_session(self.world, connection)
        elif isinstance(connection, StreamConnection):
            self._taken(connection)

    def _taken(self, reader: StreamConnection) -> None:
        """A reader has taken something, or has gone: a tick may wait for that."""
        if reader.owner is not None:
            self._backlog.taken(reader.owner)

    def _disconnect_all(self) -> None:
        for connection in list(self.connections):
            connection.close()

    # ------------------------------------------------------------------ requests

    def handle(self, client: ClientConnection, request: rpc.Request) -> None:
        """Answer a request.  A tick may have to wait for the client's readers and Traffic Managers."""
        if not self.world.settings.synchronous_mode or not self._backlog.hold(client, request):
            self._pace(client, request)

    def _pace(self, client: ClientConnection, request: rpc.Request) -> None:
        if request.name != "tick_cue" or not self._pacing.hold(client, request):
            self._carry_out(client, request)

    def announced(self, client: ClientConnection, stream_id: int) -> None:
        """A client is about to open a stream."""
        self.streams.announced(client, stream_id)

    def inject_faults(self, spec: str) -> None:
        """Arm faults, "" to remove all; FaultError when they cannot be read."""
        if spec:
            self.faults.arm(spec)
        else:
            self.faults.clear()

    def pending_bytes(self) -> int:
        """Bytes of unfinished requests over all clients."""
        clients = (client for client in self.connections if isinstance(client, ClientConnection))
        return sum(client.requests.pending for client in clients)

    def _carry_out(self, client: ClientConnection, request: rpc.Request) -> None:
        if client.closed:
            return
        name = request.name
        if name in ("tick_cue", "apply_batch"):
            self.streams.await_opening(client, self._listeners[1], self.connections)
        fault = self.faults.on_call(name, time.monotonic()) if self.faults else ""
        if fault == "silence":
            return
        if fault == "error":
            client.reply(rpc.reply(request.id, failure(name, "an injected error")), request.waits)
            return
        try:
            result = self._tick(client, request) if name == "tick_cue" else self._answer(client, request)
        except _RequestAbandonedError:
            return
        client.reply(rpc.reply(request.id, result), request.waits)
        self._pacing.answered(client, name)
        try:
            self.world.finish()
        except Exception:
            log.exception("what follows a tick failed")
            self._finish_failed = True

    def _answer(self, client: ClientConnection, request: rpc.Request) -> Any:
        """The result of a request in CARLA's wrapping, whatever happens."""
        try:
            result = answer(Call(self.world, client), request.name, request.arguments)
            self._untold.check(client, request, result)
            return result
        except Exception:
            log.exception("%s failed", request.name)
            return failure(request.name, f"internal error of minicarla in {request.name}")

    def _tick(self, client: ClientConnection, request: rpc.Request) -> Any:
        """Tick; hold snapshot and reply back until the client may be told, see ``pacing``."""
        if self._finish_failed:  # the tick before had been answered when its sensors failed
            self._finish_failed = False
            return failure(request.name, "internal error of minicarla in the tick before: a sensor failed")
        if not self._pacing.is_settling(client):
            return self._answer(client, request)
        with self.streams.snapshots_held():
            result = self._answer(client, request)
            self._pacing.let_settle(client)
        return result

    def _count_managers(self, client: ClientConnection) -> int:
        return sum(session is client for _, _, session in self.world.traffic_managers.values())

    def _sensor_type(self, stream_id: int) -> str:
        kinds = (sensor.type_id for sensor in self.world.actors.sensors if sensor.stream == stream_id)
        return next(kinds, "")

    # ------------------------------------------------------------------ injected faults

    def _before_tick(self) -> None:
        if self.faults:
            self._strike(ticking=True)
        else:
            self.faults.tick += 1

    def _strike(self, *, ticking: bool) -> None:
        for fault in self.faults.strike(time.monotonic(), ticking=ticking):
            log.warning("injected fault: %s", fault)
            self._inject(fault)
        if ticking and self._restart_after is not None:
            raise _RequestAbandonedError

    def _inject(self, fault: ServerFault) -> None:
        if fault.kind in ("freeze", "delay"):
            self._freeze(fault.seconds)
        elif fault.kind == "hangup":
            self._disconnect_all()
        elif fault.kind == "restart":
            self._restart_after = fault.seconds
        else:
            os.kill(os.getpid(), signal.SIGKILL if fault.kind == "kill" else signal.SIGABRT)

    def _freeze(self, seconds: float) -> None:
        """Answer nothing for a while; removing all faults ends it early."""
        self.faults.thawed = False
        self._loop.pause(seconds, lambda: self.faults.thawed)

    def _restart(self, seconds: float) -> None:
        self._restart_after = None
        self._stop_listening()
        self._disconnect_all()
        self._freeze(seconds)
        if self._loop.stopping:
            return
        self.faults.tick = 0
        self.world = self._make_world()
        self._listen(self.port)
