"""Starting and stopping a simulator of our own, by a command or minicarla; its maps."""

from __future__ import annotations

import difflib
import re
import shlex
import socket
import sys
import time
from pathlib import Path

import msgpack

from av_td3.config import ConfigError, SimulatorConfig, parse_address
from av_td3.driving.errors import SetupError
from av_td3.supervision.ports import NoPortError, PortLease
from av_td3.supervision.process import Child

_READY = re.compile(r"^minicarla \S+ ready on (\S+):(\d+) ", re.M)


class LaunchError(RuntimeError):
    """The server did not start; the message holds the end of its output."""


class OwnServer:
    """A simulator that belongs to this process; others are left alone."""

    def __init__(self, process: Child, address: str = "") -> None:
        self.process, self.address = process, address
        self.started = time.monotonic()

    def stop(self, grace_s: float = 0.0) -> None:
        """End this server.  ``grace_s``: seconds to obey SIGTERM before SIGKILL."""
        self.process.stop(grace_s)

    @property
    def hours(self) -> float:
        """Its age."""
        return (time.monotonic() - self.started) / 3600

    @property
    def memory(self) -> int:
        """Bytes of memory that it and its descendants hold."""
        return self.process.memory

    def answers(self, timeout_s: float) -> bool:
        """Whether it answers a remote procedure call."""
        return answers(*parse_address(self.address), timeout_s)


def start_server(config: SimulatorConfig, log: Path) -> OwnServer:
    """Start the server that the configuration asks for, and wait until it takes connections.

    Args:
        config: the command, or None for minicarla; map and faults; ``start_deadline_s``.
        log: file that its output is appended to.

    Raises:
        LaunchError: it ended or did not become ready in time.
        SetupError: it refused what it was asked for.
    """
    if config.command is not None:
        return CommandServer(config.command, log, config.start_deadline_s)
    return MinicarlaProcess(config, log, config.start_deadline_s)


class CommandServer(OwnServer):
    """A CARLA server that a command starts, on three ports that nobody else has.

    It counts as ready when it answers a remote procedure call.

    Args:
        command: with ``{port}`` where the server is told its first port.
        log, deadline_s: as for :class:`MinicarlaProcess`.

    Raises:
        LaunchError: it ended or did not answer in time, or there are no free ports.
    """

    FIRST_PORT = 2000
    """CARLA's own.  The next two are for its streams."""

    def __init__(self, command: str, log: Path, deadline_s: float) -> None:
        try:
            self._lease = PortLease(self.FIRST_PORT, 3)
        except NoPortError as error:
            raise LaunchError(str(error)) from None
        port = self._lease.port
        super().__init__(Child(shlex.split(command.format(port=port)), log, kept=True), f"127.0.0.1:{port}")
        deadline = time.monotonic() + deadline_s
        try:
            while not answers("127.0.0.1", port, 1.0):
                why = last_line(self.process.output())
                if self.process.exit_status is not None:
                    raise LaunchError(f"the server's command ended ({self.process.describe_exit()}): {why}")
                if time.monotonic() > deadline:
                    raise LaunchError(
                        f"the server did not answer on port {port} within {deadline_s:g} s: {why}"
                    )
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise

    GRACE_S = 1.0
    """It is always asked first: ``docker run`` ends its container when told to, not when it is killed."""

    def stop(self, grace_s: float = 0.0) -> None:
        super().stop(max(grace_s, self.GRACE_S))
        self._lease.release()


def answers(host: str, port: int, timeout_s: float) -> bool:
    """Whether a CARLA server answers there: the call ``version`` of its msgpack-rpc."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(msgpack.packb([0, 1, "version", []]))
            unpacker = msgpack.Unpacker()
            while chunk := connection.recv(4096):
                unpacker.feed(chunk)
                for message in unpacker:
                    return isinstance(message, list) and message[:3] == [1, 1, None]
    except (OSError, ValueError, msgpack.UnpackException):
        pass
    return False


class MinicarlaProcess(OwnServer):
    """A minicarla that belongs to this process, on ports of its own choice.

    Args:
        config: map and faults.
        log: file that its output is appended to.
        deadline_s: longest time until it takes connections.

    Raises:
        LaunchError: it ended or did not become ready in time.
        SetupError: it refused what it was asked for.
    """

    def __init__(self, config: SimulatorConfig, log: Path, deadline_s: float) -> None:
        command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", config.map]
        command += ["--synchronous"]  # nothing moves before the worker says so
        if config.faults is not None:
            command += ["--faults", config.faults]
        super().__init__(Child(command, log))
        try:
            self.address = self._wait_until_ready(time.monotonic() + deadline_s, deadline_s)
        except BaseException:
            self.process.stop()
            raise

    def _wait_until_ready(self, deadline: float, deadline_s: float) -> str:
        while True:
            match = _READY.search(self.process.output())
            if match:
                return f"{match[1]}:{match[2]}"
            if self.process.exit_status is not None:
                if self.process.exit_status == 2:  # it was asked for something that cannot be
                    raise SetupError(self.process.output(800))
                why = last_line(self.process.output())
                raise LaunchError(f"minicarla did not start ({self.process.describe_exit()}): {why}")
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"minicarla was not ready within {deadline_s:g} s: {last_line(self.process.output())}"
                )
            time.sleep(0.01)


def check_map(config: SimulatorConfig, key: str = "env.simulator.map") -> None:
    """Whether the map can be there, as far as that can be told before a server is asked.

    Args:
        config: which map, and which server is to have it.
        key: the setting that names the map, for the message.

    Raises:
        ConfigError: there is no such file, or the bundled simulator has no such map.
    """
    path = Path(config.map)
    if path.suffix == ".xodr":
        if not path.is_file():
            raise ConfigError(f"{key}: there is no file {config.map}")
        return
    if not config.is_minicarla:
        return  # only that server knows its maps
    from minicarla import maps

    names = maps.available()
    if config.map not in names:
        close = difflib.get_close_matches(config.map, names, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(
            f"{key}: minicarla has no map {config.map!r}{hint}; it has {', '.join(names)}. Or "
            "give the path of an .xodr file. CARLA's own maps need a CARLA server: give its address, or the "
            "command that starts it"
        )


def last_line(output: str) -> str:
    """Where a failed program says why: errors and tracebacks both end with it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def free_port(first: int, tries: int = 200) -> int:
    """The first port from ``first`` on that nothing listens on (as the Traffic Manager will bind it).

    The client answers a port that is taken with an error after ten seconds.
    """
    for port in range(first, min(first + tries, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise LaunchError(f"no free port from {first} to {first + tries - 1} for the Traffic Manager")
