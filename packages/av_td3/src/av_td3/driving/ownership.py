"""One owner for one server: who else drives on a CARLA server, and how to tell.

A CARLA server has one clock.  Two clients that both call ``tick`` advance each other's episodes, and
neither is told.  So each environment takes a server for itself.

* Clients of this software on one machine exclude each other through sockets in Linux's abstract
  namespace.  A socket's name holds the server's address, the kernel removes it when its owner dies,
  and it tells who its owner is.
* There are two such names for each server.  A driving session holds one while it drives.  A program
  holds the other as long as it has an environment on the server, so nobody can come in between while
  its training and its evaluation take turns.
* What this software spawns carries its process and its machine in ``role_name`` (:class:`Mark`).
  So another machine sees the claim as well, once it has seen the world.
* Any other client is noticed by its ticks (:class:`av_td3.driving.session.DrivingSession`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import weakref
from typing import Literal, NamedTuple

import psutil

from av_td3.driving.errors import ServerTakenError

ONE_AT_A_TIME = (
    "One server serves one environment at a time: end the other program, or start a second server on another "
    "port"
)


class ServerClaim:
    """This process's claim on a server.

    It is held until :meth:`release`, until nothing refers to it any more, or until the process ends.
    A forked process does not inherit it.

    Args:
        host, port: the server's.
        holder: what holds it.  Claims of different holders do not exclude each other.

    Raises:
        ServerTakenError: another environment on this machine holds it; the message names its process.
    """

    def __init__(self, host: str, port: int, holder: Literal["session", "program"] = "session") -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"\0av_td3/{holder}/{_canonical(host)}:{port}"
        try:
            self._socket.bind(name)
            # Whoever asks for the owner's name stays in this queue: nobody accepts.
            self._socket.listen(socket.SOMAXCONN)
        except OSError:
            self._socket.close()
            raise ServerTakenError(
                f"the CARLA server at {host}:{port} is in use by {_owner(name)}. {ONE_AT_A_TIME}"
            ) from None
        weakref.finalize(self, self._socket.close)
        _HELD.add(self)

    def release(self) -> None:
        """Give the server free."""
        self._socket.close()


def claim_for_program(host: str, port: int) -> ServerClaim:
    """The one claim that all environments of this process share.

    When the last of them drops it, the server is free.

    Raises:
        ServerTakenError: another program on this machine holds it.
    """
    key = (_canonical(host), port)
    claim = _OF_PROGRAM.get(key)
    if claim is None:
        claim = _OF_PROGRAM[key] = ServerClaim(host, port, "program")
    return claim


_HELD: weakref.WeakSet[ServerClaim] = weakref.WeakSet()
_OF_PROGRAM: weakref.WeakValueDictionary[tuple[str, int], ServerClaim] = weakref.WeakValueDictionary()


def _forget_claims() -> None:
    """A forked process has copies of its parent's sockets; open ones would outlive the parent."""
    for claim in list(_HELD):
        claim.release()
    _HELD.clear()
    _OF_PROGRAM.clear()


os.register_at_fork(after_in_child=_forget_claims)


class Mark(NamedTuple):
    """What a ``role_name`` says about the process that spawned the actor: ``av_td3:HOST:PID``."""

    host: str
    pid: int

    @classmethod
    def own(cls) -> Mark:
        """That of this process."""
        return cls(socket.gethostname(), os.getpid())

    @classmethod
    def of(cls, role_name: str) -> Mark | None:
        """None for an actor that another software has spawned."""
        software, _, process = role_name.partition(":")
        host, _, pid = process.rpartition(":")
        return cls(host, int(pid)) if software == _MARK and pid.isdigit() else None

    def __str__(self) -> str:
        return f"{_MARK}:{self.host}:{self.pid}"

    @property
    def is_of_this_machine(self) -> bool:
        """Whether one can see from here whether the process runs."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs on this machine."""
        return self.is_of_this_machine and is_alive(self.pid)

    @property
    def owner(self) -> str:
        """The process, for messages."""
        if self.is_of_this_machine:
            return describe_process(self.pid)
        return f"process {self.pid} of the machine {self.host}"


_MARK = "av_td3"


def other_clients(port: int) -> str:
    """Who else on this machine is connected to a server's port, as far as one may see; for messages."""
    found = set()
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.raddr
                and connection.raddr.port == port
                and connection.pid not in (None, os.getpid())
            ):
                found.add(connection.pid)
    return ", ".join(describe_process(pid) for pid in sorted(found)) or "another client"


def describe_process(pid: int) -> str:
    """``process 4711 (av-td3 train ...)``."""
    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        if "av_td3.supervision.worker" in command:  # a person knows the command that started it
            parent = process.parent()
            if parent is not None:
                pid, command = parent.pid, parent.cmdline()
        text = " ".join(command)
    except psutil.Error:
        text = ""
    return f"process {pid} ({text[:120]})" if text else f"process {pid}"


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _owner(name: str) -> str:
    """The process that listens on an abstract socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(name)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return "another program"
    return describe_process(struct.unpack("3i", credentials)[0])


def _canonical(host: str) -> str:
    """One name for all the names and addresses of this machine."""
    try:
        address = socket.gethostbyname(host)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))  # works for this machine's own addresses alone
    except OSError:
        return host
    return "localhost"
