"""The server: sockets around a :class:`~minicarla.world.world.World`.

One thread, one ``selectors`` loop.  Port P answers remote procedure calls, port
P + 1 serves the streams.  Writes never block: a stream's reader that falls behind
loses whole messages, never parts of one, and the tick does not wait for it.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import select
import selectors
import signal
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable

from minicarla.faults import Fault, Faults
from minicarla.wire import rpc, stream, token
from minicarla.wire.schema import WireError
from minicarla.world.calls import Call, answer, failure
from minicarla.world.calls.traffic import forget_session
from minicarla.world.world import FREE_RATE, World

log = logging.getLogger("minicarla")

READ_BYTES = 1 << 18
MAX_CONNECTIONS = 512
STREAM_BACKLOG = 32 << 20
"""Unsent bytes of one stream beyond which new messages for it are dropped."""
REPLY_BACKLOG = 1 << 20
"""Unsent bytes of answers beyond which no further request of that client is taken up."""
STREAM_PATIENCE = 0.5
"""Seconds that a client's own tick waits for the streams that it is opening."""
LAZY_REPLY = 0.01
"""Seconds that an answer which nobody waits for may be held back."""
EAGER = 0.0003
"""Seconds in which the next request is looked for without sleeping: to be woken takes as long as a tick."""
MANAGER_PATIENCE = 0.005
"""Seconds that a tick waits for the client's Traffic Managers to ask for the settings."""
MANAGER_CHANCES = 3
"""Ticks in a row that wait for Traffic Managers which do not ask; then no more until one does."""
MANAGER_SETTLES = 0.0005
"""Seconds after the answer in which they begin to wait for the tick."""
REQUESTS_PER_TURN = 256
"""Requests of one client that are answered before the others get their turn."""
TOTAL_PENDING = 256 << 20
"""Bytes of unfinished requests, over all clients, beyond which their sender is cut off."""


class _Abandon(BaseException):
    """The request in hand gets no answer."""


class Connection:
    """A non-blocking socket with what still has to be written to it."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server = server
        self.sock = sock
        self.host: str = sock.getsockname()[0]
        self.peer: str = sock.getpeername()[0]
        self.closed = False
        self.backlog: deque[memoryview] = deque()
        self.waiting = 0  # bytes in the backlog
        self._events = selectors.EVENT_READ
        server.selector.register(sock, self._events, self.ready)

    def ready(self, events: int) -> None:
        """The selector says that the socket can be read or written."""
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and not self.closed:
            self._receive()

    def send(self, data: bytes | memoryview) -> None:
        """Write now what fits, keep the rest.  ``data`` must not change afterwards."""
        if self.closed:
            return
        if not self.backlog:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self.backlog.append(memoryview(data))
        self.waiting += len(data)
        self._watch()

    def _flush(self) -> None:
        while self.backlog:
            data = self.backlog[0]
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self.waiting -= sent
            if sent < len(data):
                self.backlog[0] = data[sent:]
                return
            self.backlog.popleft()
        self._watch()
        self.drained()

    def _watch(self) -> None:
        events = selectors.EVENT_READ if self.wants_input() else 0
        if self.backlog:
            events |= selectors.EVENT_WRITE
        if events != self._events and not self.closed:
            self._events = events
            self.server.selector.modify(self.sock, events, self.ready)

    def _receive(self) -> None:
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.close()

    def wants_input(self) -> bool:
        """Whether to go on reading."""
        return True

    def received(self, data: bytes) -> None:
        """Bytes came in."""
        raise NotImplementedError

    def drained(self) -> None:
        """Everything has been written."""

    def close(self) -> None:
        """Close the socket, forget what was to be written."""
        if self.closed:
            return
        self.closed = True
        self.backlog.clear()
        self.waiting = 0
        with contextlib.suppress(KeyError, ValueError):
            self.server.selector.unregister(self.sock)
        self.sock.close()
        self.server.gone(self)


class Client(Connection):
    """A connection for remote procedure calls."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.requests = rpc.Requests()
        self.announced: dict[int, float] = {}
        self.seen = 0  # the frame of this client's last tick
        # What its Traffic Managers did since then, see Server._hold.
        self.batches = self.asked = 0
        self.asked_at = 0.0
        self.missed = 0  # ticks in a row for which they did not ask
        self._unawaited = bytearray()
        super().__init__(server, sock)

    def wants_input(self) -> bool:
        return self.waiting <= REPLY_BACKLOG

    def received(self, data: bytes) -> None:
        try:
            self.requests.feed(data)
            if self.server.pending_bytes() > TOTAL_PENDING:
                raise WireError("too many unfinished requests")
        except WireError as error:
            log.warning("closing a client's connection: %s", error)
            self.close()
            return
        self.serve()

    def drained(self) -> None:
        self.serve()

    def commit(self, spec: str) -> None:
        """Arm faults on behalf of this client, "" to forget all; PermissionError from another machine."""
        if not ipaddress.ip_address(self.peer).is_loopback:
            raise PermissionError("faults are taken from this machine only")
        if spec:
            self.server.faults.arm(spec)
        else:
            self.server.faults.clear()

    def reply(self, data: bytes, awaited: bool) -> None:
        """Send an answer; one that the client does not wait for goes along with the next that it does.

        The client has to get it, or it would remember the call for ever, but it need not be woken
        for it.
        """
        if awaited:
            if self._unawaited:
                data = bytes(self._unawaited) + data
                self._unawaited.clear()
            self.send(data)
            return
        if not self._unawaited:
            self.server.unawaited.append((time.monotonic() + LAZY_REPLY, self))
        self._unawaited += data
        if len(self._unawaited) > REPLY_BACKLOG:
            self.flush_replies()

    def flush_replies(self) -> None:
        """Send the answers that nobody waits for."""
        if self._unawaited:
            self.send(bytes(self._unawaited))
            self._unawaited.clear()

    def announce(self, stream_id: int) -> None:
        """This client is about to open a stream; see :meth:`Server._await_streams`."""
        if len(self.announced) < MAX_CONNECTIONS:
            self.announced[stream_id] = time.monotonic() + STREAM_PATIENCE

    def serve(self) -> None:
        """Answer the requests that are there, a fair share of them."""
        for _ in range(REQUESTS_PER_TURN):
            if self.closed or not self.wants_input():
                return
            try:
                request = self.requests.next()
            except WireError as error:
                log.warning("closing a client's connection: %s", error)
                self.close()
                return
            if request is None:
                return
            self.server.answer(self, request)
        self.server.hungry.append(self)


class Subscriber(Connection):
    """A connection that reads one stream."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.stream = 0
        self.dropped = 0
        self._greeting = b""
        super().__init__(server, sock)

    def received(self, data: bytes) -> None:
        if self.stream:
            return  # a client says nothing more; what it says is not kept
        self._greeting += data[:4]
        if len(self._greeting) >= stream.SUBSCRIPTION.size:
            (self.stream,) = stream.SUBSCRIPTION.unpack_from(self._greeting)
            if not self.stream:
                self.close()
                return
            self.server.subscribed(self)

    def publish(self, message: bytes) -> None:
        """Send a message whole, or not at all when the reader has fallen too far behind."""
        if self.waiting and self.waiting + len(message) > STREAM_BACKLOG:
            self.dropped += 1
            return
        self.send(message)


class Server:
    """A minicarla server, for the command and for embedding.

    port: of the remote procedures; the streams use the next one.  0 picks a free pair.
    map: a bundled map's name, an .xodr file, or the name of one in map_folder.
    map_folder: a folder whose .xodr files clients may load by name.
    synchronous: wait for ``tick`` from the start, so that not even the ticks before a
        client's ``apply_settings`` depend on the clock on the wall.
    faults: see :mod:`minicarla.faults`.

    Raises OSError when a port is taken, FileNotFoundError or ValueError for an unusable
    map, ``FaultError`` for an unusable fault.  ``run`` serves until ``stop`` is called,
    which any thread or signal handler may do.
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
        faults: str | Faults = "",
    ) -> None:
        self.faults = faults if isinstance(faults, Faults) else Faults(faults)
        self.selector = selectors.DefaultSelector()
        self.subscribers: defaultdict[int, list[Subscriber]] = defaultdict(list)
        self.connections: set[Connection] = set()
        self.hungry: deque[Client] = deque()
        self.unawaited: deque[tuple[float, Client]] = deque()  # answers held back, and until when
        self._held: dict[Client, tuple[float, rpc.Request]] = {}  # ticks held back, and until when
        self._quiet_until = 0.0  # no tick is told before
        self._stopping = False
        self._eager = len(os.sched_getaffinity(0)) > 1  # a single core is the client's
        self._blind = False
        self._restart_after: float | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        for sock in (self._wake_read, self._wake_write):
            sock.setblocking(False)
        self.selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._errands: deque[Callable[[], None]] = deque()
        self.host = host
        self._listeners: list[socket.socket] = []
        try:
            self._listen(port)
            self._make_world: Callable[[], World] = lambda: World(
                map,
                seed=seed,
                npc=npc,
                walkers=walkers,
                map_folder=map_folder,
                outlet=self,
                synchronous=synchronous,
                before_tick=self._before_tick,
            )
            self.world = self._make_world()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ life

    def _listen(self, port: int) -> None:
        """Bind the pair of ports; OSError when either is taken."""
        for _ in range(64):
            try:
                first = _bound(self.host, port)
            except OSError as error:
                raise OSError(error.errno, f"port {port} of {self.host}: {error.strerror}") from None
            chosen = first.getsockname()[1]
            try:
                second = _bound(self.host, chosen + 1)
            except (OSError, OverflowError) as error:
                first.close()
                if port == 0:
                    continue
                reason = getattr(error, "strerror", None) or str(error)
                raise OSError(errno.EADDRINUSE, f"port {chosen + 1} of {self.host}: {reason}") from None
            self.host = first.getsockname()[0]  # tokens carry addresses, not names
            self.port, self.stream_port = chosen, chosen + 1
            self._listeners = [first, second]
            for listener, kind in ((first, Client), (second, Subscriber)):
                listener.listen(128)
                self.selector.register(
                    listener,
                    selectors.EVENT_READ,
                    lambda events, listener=listener, kind=kind: self._accept(listener, kind),
                )
            return
        raise OSError(errno.EADDRINUSE, f"no free pair of ports on {self.host}")

    def run(self) -> None:
        """Serve until :meth:`stop`; then close everything."""
        due = time.monotonic()
        try:
            while not self._stopping:
                timeout = None
                if not self.world.settings.synchronous_mode:
                    now = time.monotonic()
                    if now >= due:
                        self._free_tick()
                        due = max(due + 1.0 / FREE_RATE, now)
                    timeout = max(0.0, due - time.monotonic())
                if self.unawaited:
                    left = max(0.0, self.unawaited[0][0] - time.monotonic())
                    timeout = left if timeout is None else min(timeout, left)
                if self._held:
                    left = max(0.0, min(self._held.values())[0] - time.monotonic())
                    timeout = left if timeout is None else min(timeout, left)
                if self.hungry:
                    timeout = 0.0
                for key, events in self._ready(timeout):
                    key.data(events)
                while self.unawaited and self.unawaited[0][0] <= time.monotonic():
                    self.unawaited.popleft()[1].flush_replies()
                for _ in range(len(self.hungry)):
                    self.hungry.popleft().serve()
                if self._held:
                    self._let_go()
                if self.faults:
                    self._strike(ticking=False)
                if self._restart_after is not None:
                    self._restart(self._restart_after)
        finally:
            self.close()

    def _ready(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Whose sockets are ready within ``timeout`` seconds; None: whenever that is.

        In step with a client the next request is looked for without sleeping at first.
        """
        ready = self.selector.select(0.0)
        if self._eager and self.world.settings.synchronous_mode and timeout != 0.0:
            end = time.perf_counter() + EAGER
            while not ready and time.perf_counter() < end:
                ready = self.selector.select(0.0)
        return ready or self.selector.select(timeout)

    def _free_tick(self) -> None:
        try:
            self.world.tick()
        except _Abandon:
            pass
        except Exception:  # one that a client asked for would have been answered with it
            log.exception("the tick failed")

    def stop(self) -> None:
        """Make :meth:`run` return; safe from other threads and from signal handlers."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def call(self, errand: Callable[[], None]) -> None:
        """Have a function called in the server's thread, between two requests."""
        self._errands.append(errand)
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def _woken(self, events: int) -> None:
        with contextlib.suppress(OSError):
            self._wake_read.recv(4096)
        while self._errands:
            try:
                self._errands.popleft()()
            except Exception:
                log.exception("an errand failed")

    def _hang_up(self) -> None:
        for connection in list(self.connections):
            connection.close()

    def close(self) -> None:
        """Close all sockets."""
        self._stop_listening()
        self._hang_up()
        self._wake_read.close()
        self._wake_write.close()
        self.selector.close()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(listener)
            listener.close()
        self._listeners = []

    # ------------------------------------------------------------------ faults

    def _before_tick(self) -> None:
        if self.faults:
            self._strike(ticking=True)
        else:
            self.faults.tick += 1

    def _strike(self, *, ticking: bool) -> None:
        for fault in self.faults.strike(time.monotonic(), ticking=ticking):
            log.warning("fault: %s", fault)
            self._commit(fault)
        if ticking and self._restart_after is not None:
            raise _Abandon

    def _commit(self, fault: Fault) -> None:
        if fault.kind in ("freeze", "delay"):
            self._pause(fault.seconds)
        elif fault.kind == "hangup":
            self._hang_up()
        elif fault.kind == "restart":
            self._restart_after = fault.seconds
        else:
            os.kill(os.getpid(), signal.SIGKILL if fault.kind == "kill" else signal.SIGABRT)

    def _pause(self, seconds: float) -> None:
        """Do nothing but heed :meth:`stop` and :meth:`call`; clearing the faults ends it early."""
        end = time.monotonic() + seconds
        pause = selectors.DefaultSelector()
        pause.register(self._wake_read, selectors.EVENT_READ)
        self.faults.thawed = False
        try:
            while not self._stopping and not self.faults.thawed:
                left = end - time.monotonic()
                if left <= 0:
                    break
                if pause.select(min(left, 3600.0)):
                    self._woken(selectors.EVENT_READ)
        finally:
            pause.close()

    def _restart(self, seconds: float) -> None:
        self._restart_after = None
        self._stop_listening()
        self._hang_up()
        self.hungry.clear()
        self._pause(seconds)
        if self._stopping:
            return
        self.faults.tick = 0
        self.world = self._make_world()
        self._listen(self.port)

    # ------------------------------------------------------------------ connections

    def _accept(self, listener: socket.socket, kind: type[Connection]) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if len(self.connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        try:
            self.connections.add(kind(self, sock))
        except OSError:
            sock.close()

    def gone(self, connection: Connection) -> None:
        """A connection closed."""
        self.connections.discard(connection)
        if isinstance(connection, Subscriber):
            readers = self.subscribers.get(connection.stream)
            if readers and connection in readers:
                readers.remove(connection)
                if not readers:
                    del self.subscribers[connection.stream]
        elif isinstance(connection, Client):
            self._held.pop(connection, None)
            with contextlib.suppress(AttributeError):  # while the first world is being built
                forget_session(self.world, connection)

    def pending_bytes(self) -> int:
        """Bytes of unfinished requests over all clients."""
        return sum(client.requests.pending for client in self.connections if isinstance(client, Client))

    # ------------------------------------------------------------------ requests and messages

    def answer(self, client: Client, request: rpc.Request) -> None:
        """Carry out a request and send the answer, or hold it back for a while."""
        if request.name == "tick_cue":
            if client in self._held:  # of another thread; they are carried out in their order
                self._carry_out(client, self._held.pop(client)[1])
            if self._hold(client, request):
                return
        self._carry_out(client, request)

    def _carry_out(self, client: Client, request: rpc.Request) -> None:
        if client.closed:
            return
        if client.announced and request.name in ("tick_cue", "apply_batch"):
            self._await_streams(client)
        fault = self.faults.on_call(request.name, time.monotonic()) if self.faults else ""
        if fault == "silence":
            return
        try:
            if fault:
                refusal = failure(request.name, "an error on purpose")
                client.reply(rpc.reply(request.id, refusal), request.waits)
                return
            if self._blind and request.name == "tick_cue":
                self._blind = False
                raise RuntimeError("the sensors of the tick before failed")
            result = answer(Call(self.world, client), request.name, request.arguments)
        except _Abandon:
            return
        except Exception:
            log.exception("%s failed", request.name)
            result = failure(request.name, f"internal error of minicarla in {request.name}")
        client.reply(rpc.reply(request.id, result), request.waits)
        if request.name == "tick_cue":
            client.batches = client.asked = 0
        elif request.name == "apply_batch":
            client.batches += 1
        elif request.name == "get_episode_settings" and client.asked < client.batches:
            self._asked(client)
        try:
            self.world.finish()
        except Exception:
            log.exception("measuring failed")
            self._blind = True  # told at the next tick: this one is answered already

    def _hold(self, client: Client, request: rpc.Request) -> bool:
        """Whether a client's tick has to wait until its Traffic Managers wait for it.

        A Traffic Manager in step with the world controls its vehicles by a batch, asks for the settings and
        then waits to be told of a tick.  CARLA's client tells it without the lock that makes sure that it
        listens: told in the moment in which it begins to, it hears nothing, and the client stands still
        for ever.  A tick that takes as long as CARLA's keeps clear of that moment; one that takes a
        quarter of a millisecond met it once in a few hundred times.
        """
        managers = sum(session is client for _, _, session in self.world.traffic_managers.values())
        if not managers or client.missed >= MANAGER_CHANCES:
            return False
        if client.asked < managers:
            self._held[client] = (time.monotonic() + MANAGER_PATIENCE, request)
            return True
        self._quiet_until = client.asked_at + MANAGER_SETTLES
        return False

    def _asked(self, client: Client) -> None:
        """One of a client's Traffic Managers, as it seems, was told the settings."""
        client.asked, client.asked_at, client.missed = client.asked + 1, time.monotonic(), 0
        if client in self._held:
            self.answer(client, self._held.pop(client)[1])

    def _let_go(self) -> None:
        """Carry out the ticks that were held back long enough."""
        now = time.monotonic()
        for client, (until, request) in list(self._held.items()):
            if until <= now:
                self._held.pop(client, None)
                client.missed += 1
                self._carry_out(client, request)

    def has_reader(self, stream_id: int) -> bool:
        """Whether anybody subscribed to a stream (``world.Outlet``)."""
        return stream_id in self.subscribers

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        """Send one message to all who read a stream (``world.Outlet``)."""
        readers = self.subscribers.get(stream_id)
        if self._quiet_until and stream_id == stream.WORLD_STREAM:
            time.sleep(max(0.0, self._quiet_until - time.monotonic()))
            self._quiet_until = 0.0
        if readers:
            message = b"".join((stream.LENGTH.pack(sum(map(len, parts))), *parts))
            if self.faults:
                fault = self.faults.on_message(self._names(stream_id), time.monotonic())
                if fault in ("stall", "drop"):
                    return
                if fault == "half":
                    message = message[: len(message) // 2]
            for reader in tuple(readers):
                reader.publish(message)

    def subscribed(self, subscriber: Subscriber) -> None:
        """A stream's reader has said which stream it wants."""
        self.subscribers[subscriber.stream].append(subscriber)
        for connection in self.connections:
            if isinstance(connection, Client) and subscriber.stream in connection.announced:
                del connection.announced[subscriber.stream]
                break

    def _await_streams(self, client: Client) -> None:
        """Let the streams that a client has asked for be opened before it ticks.

        Its library opens them behind its back, and what a tick sends to a stream that is not open
        yet is lost; so is the snapshot that the same tick waits for.
        """
        listener = self._listeners[1]
        while client.announced:
            left = max(client.announced.values()) - time.monotonic()
            if left <= 0.0:
                client.announced.clear()
                return
            fresh = {
                connection.sock: connection
                for connection in self.connections
                if isinstance(connection, Subscriber) and not connection.stream
            }
            ready, _, _ = select.select([listener, *fresh], [], [], left)
            for sock in ready:
                if sock is listener:
                    self._accept(listener, Subscriber)
                else:
                    fresh[sock].ready(selectors.EVENT_READ)

    def _names(self, stream_id: int) -> tuple[str, str]:
        if stream_id == stream.WORLD_STREAM:
            return str(stream_id), "world"
        kinds = (sensor.type_id for sensor in self.world.sensors if sensor.stream == stream_id)
        return str(stream_id), next(kinds, "")

    def token(self, stream_id: int, host: str | None = None) -> bytes:
        """Token of a stream (``world.Outlet``)."""
        return token.pack(stream_id, host or self.host, self.stream_port)


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
