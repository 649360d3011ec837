"""On a node: a worker and its server, for an environment whose learner is somewhere else.

Nothing here needs Ray.  ``link`` makes an actor of :class:`SimulatorHost`.  The worker is the one of
``av_td3.supervision.worker``; the learner talks to it directly, over a TCP connection.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import platform
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypedDict

from av_td3 import __version__
from av_td3.config import SimulatorConfig
from av_td3.driving.errors import SetupError
from av_td3.supervision.crew import WORKER, CrewFailure, death, lease, wanted_port
from av_td3.supervision.launcher import LaunchError, OwnServer, start_server
from av_td3.supervision.ports import PortLease
from av_td3.supervision.process import Child
from rundoctor.code import code_state, installed

TOKEN_BYTES = 32
ACCEPT_S = 20.0
"""How long a learner that was told where to connect may take to do so."""


class Facts(TypedDict):
    """What a node tells of itself before anything is started on it."""

    version: str
    python: str
    sources: str
    """Hash of the packages' sources, see ``rundoctor.code``."""


def facts() -> Facts:
    """Those of this process."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"version": __version__, "python": python, "sources": code_state(installed()).sources}


class Endpoint(TypedDict):
    """Where the learner connects, and what it says first."""

    address: str
    port: int
    token: bytes


class Manned(TypedDict):
    """A worker and a server that are ready to be opened."""

    server: str
    """``host:port``, seen from the worker."""
    server_pid: int
    worker_pid: int
    port: int
    """The Traffic Manager's."""
    start_took_s: float


class Failed(TypedDict):
    """A worker or a server that ended or did not start; as in ``CrewFailure``."""

    kind: str
    """Or ``setup``: the simulator cannot serve this configuration."""
    text: str
    output: str


def _reported(failure: CrewFailure) -> Failed:
    return {"kind": failure.kind, "text": failure.text, "output": failure.output}


class SimulatorHost:
    """One worker and one server at a time, in the process of a Ray actor.

    Its methods answer with plain values, failures included, so that nothing but these passes through Ray.
    When its process ends, however it does, worker and server end too (``process.Child``).

    Args:
        logs: folder for the processes' output.  Where it does not exist on this machine, a temporary one.
        name: prefix of the files.
        address: what to listen on, for the learner.
    """

    def __init__(self, logs: str, name: str, address: str) -> None:
        self._temporary = None if os.access(logs, os.W_OK) else tempfile.mkdtemp(prefix="av_td3_")
        self._logs, self._name, self._address = Path(self._temporary or logs), name, address
        self._listener: socket.socket | None = None
        self._token = b""
        self._worker: Child | None = None
        self._server: OwnServer | None = None
        self._lease: PortLease | None = None

    def listen(self) -> Endpoint:
        """Open a port for one connection of the learner."""
        self._stop_listening()
        self._listener = socket.create_server((self._address, 0), backlog=1)
        self._token = secrets.token_bytes(TOKEN_BYTES)
        return {"address": self._address, "port": self._listener.getsockname()[1], "token": self._token}

    def man(self, simulator: dict[str, Any], split: str) -> Manned | Failed:
        """Start a worker for the learner that connects, and a server unless one was kept.

        Args:
            simulator: a ``SimulatorConfig``.
            split: of the environment.
        """
        config = SimulatorConfig.model_validate(simulator)
        self._dismiss_worker()
        try:
            with self._accepted() as connection:
                descriptor = connection.fileno()
                log = self._logs / f"{self._name}-worker.log"
                self._worker = Child([*WORKER, str(descriptor), "-1"], log, pass_fds=(descriptor,))
            began = time.monotonic()
            if self._server is None:
                self._server = start_server(config, self._logs / f"{self._name}-server.log")
            took = time.monotonic() - began
            self._lease = lease(wanted_port(config, split))
        except SetupError as error:
            self.dismiss()
            return {"kind": "setup", "text": str(error), "output": ""}
        except CrewFailure as error:
            self.dismiss()
            return {"kind": error.kind, "text": str(error), "output": ""}
        except LaunchError as error:
            self.dismiss()
            return {"kind": "server-died", "text": str(error), "output": ""}
        except OSError as error:
            self.dismiss()
            return {"kind": "error", "text": str(error), "output": ""}
        self._watch(self._worker, self._server)
        return {
            "server": self._server.address,
            "server_pid": self._server.process.pid,
            "worker_pid": self._worker.pid,
            "port": self._lease.port,
            "start_took_s": took,
        }

    def post_mortem(self) -> Failed:
        """Why the connection to the worker has ended."""
        worker, server = self._worker, self._server
        if worker is None or server is None:
            text = "the process that held worker and simulator ended, and was started anew"
            return {"kind": "host-died", "text": text, "output": ""}
        # The watch ends the worker of a server that has ended.
        return _reported(death(None, server) if server.process.wait(0.05) else death(worker, None))

    def server_ended(self) -> Failed | None:
        """How the server ended; None while it runs."""
        if self._server is None or not self._server.process.wait(0.05):
            return None
        return _reported(death(None, self._server))

    def output(self) -> str:
        """The end of the worker's log."""
        return "" if self._worker is None else self._worker.output()

    def server_answers(self, timeout_s: float) -> bool:
        """Whether the server answers a remote procedure call."""
        return self._server is not None and self._server.answers(timeout_s)

    def server_memory(self) -> int:
        """Bytes of memory that the server holds."""
        return 0 if self._server is None else self._server.memory

    def trim_logs(self) -> None:
        """Rotate the logs that have become too long."""
        for child in (self._worker, None if self._server is None else self._server.process):
            if child is not None:
                child.trim_log()

    def dismiss(self, keep_server: bool = False, grace_s: float = 0.0) -> None:
        """End the worker, and the server unless it is to be kept."""
        self._stop_listening()
        self._dismiss_worker(grace_s)
        if self._server is not None and not keep_server:
            self._server.stop(grace_s)
            self._server = None

    def close(self) -> None:
        """End everything."""
        self.dismiss(grace_s=1.0)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    # ------------------------------------------------------------------ parts

    @contextlib.contextmanager
    def _accepted(self) -> Iterator[socket.socket]:
        """The connection of whoever knows the token."""
        if self._listener is None:
            raise OSError("listen() comes first")
        deadline = time.monotonic() + ACCEPT_S
        while True:
            self._listener.settimeout(max(0.01, deadline - time.monotonic()))
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(2.0)
                try:
                    said = connection.recv(TOKEN_BYTES, socket.MSG_WAITALL)
                except OSError:
                    continue
                if not hmac.compare_digest(said, self._token):
                    continue
                self._stop_listening()
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield connection
                return

    def _watch(self, worker: Child, server: OwnServer) -> None:
        """Let the worker end with its server: the learner sees its connection close at once."""
        ends = [os.dup(worker.sentinel), os.dup(server.process.sentinel)]

        def watch() -> None:
            try:
                if ends[1] in wait(ends):
                    worker.kill()
            finally:
                for end in ends:
                    os.close(end)

        threading.Thread(target=watch, name="watch", daemon=True).start()

    def _dismiss_worker(self, grace_s: float = 0.0) -> None:
        if self._worker is not None:
            if grace_s:
                self._worker.wait(grace_s)
            self._worker.stop()
            self._worker = None
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
