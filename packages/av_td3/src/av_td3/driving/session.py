"""One synchronous session with a CARLA server: connection, map, settings, clock, pictures.

What CARLA's client gets wrong, and what is done about it here:

* It keeps the process waiting, or aborts it, when the server fails.  Every wait here has a
  limit; for what has none there is the supervisor, which holds this process on a deadline.
* A camera picture may arrive before or after the tick that made it.  :class:`CameraStream` hands
  out the picture of the asked-for frame or an error, never a stale one.
* With several streaming threads, messages of one tick arrive in any order.  The client here has
  one, so what the server sent before the picture was handled before the picture.
"""

from __future__ import annotations

import os
import queue
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import carla
import numpy as np
from numpy.typing import NDArray

from av_td3.config import STEP_SECONDS
from av_td3.driving.errors import (
    MapUnavailableError,
    SimulatorFaultError,
    SimulatorUnreachableError,
    SimulatorVersionError,
)

CARLA_VERSION = "0.9.16"
AUTOPILOT_ROLE = "minicarla:autopilot"
"""Vehicles whose ``role_name`` begins with this are driven by minicarla's own traffic."""
_MARK = "av_td3"


def parse_address(address: str) -> tuple[str, int]:
    """``host:port`` or ``host`` (port 2000) as a pair; ValueError for anything else."""
    host, separator, port = address.rpartition(":")
    if not separator:
        return address, 2000
    if not host or not port.isdigit() or not 0 < int(port) < 65535:
        raise ValueError(f"{address!r} is not of the form host:port")
    return host, int(port)


class DrivingSession:
    """A connected client whose world runs in synchronous steps of 0.05 s.

    Args:
        address: ``host:port``.
        map_name: a map's name, or the path of an OpenDRIVE file.
        timeout_s: how long the server may take to answer the first call.
        setup_timeout_s: the same for what is slow, such as loading a map; in force until
            :meth:`set_timeout`.

    Raises:
        SimulatorUnreachableError, SimulatorVersionError, MapUnavailableError: see their texts.
    """

    def __init__(self, address: str, map_name: str, timeout_s: float, setup_timeout_s: float) -> None:
        host, port = parse_address(address)
        self.address = f"{host}:{port}"
        try:
            self.client = carla.Client(host, port, worker_threads=1)
            self.client.set_timeout(timeout_s)
            version = self.client.get_server_version()
        except RuntimeError as error:
            raise SimulatorUnreachableError(
                f"no CARLA server answers at {self.address} within {timeout_s:g} s ({error}); start it, or "
                "check the address (simulator.address; leave it empty to drive in minicarla)"
            ) from None
        if version.split("-")[0] != CARLA_VERSION:
            raise SimulatorVersionError(
                f"the server at {self.address} is CARLA {version}; the client speaks {CARLA_VERSION} only"
            )
        self.set_timeout(setup_timeout_s)
        self.world = self.client.get_world()
        self._original = self.world.get_settings()
        self.map = self._select_map(map_name)
        self.blueprints = self.world.get_blueprint_library()
        settings = self.world.get_settings()
        settings.synchronous_mode = True
        settings.fixed_delta_seconds = STEP_SECONDS
        self.world.apply_settings(settings)
        self.role = f"{_MARK}:{socket.gethostname()}:{os.getpid()}"
        """``role_name`` of what this process spawns: what a dead one left can be told by it."""
        self.frame = 0
        self.tick()  # in synchronous mode the client knows of no actor before its first tick
        if self._remove_stale_actors():
            # A process that died cannot have put the settings back: they were its own.
            self._original.synchronous_mode = False
            self._original.fixed_delta_seconds = None
            self.tick()

    def set_timeout(self, seconds: float) -> None:
        """Limit of every call to the server and of every wait for a picture."""
        self.timeout_s = seconds
        self.client.set_timeout(seconds)

    def tick(self) -> int:
        """Advance the simulator one step; returns the new frame.

        Raises:
            SimulatorFaultError: no answer within the time limit.
        """
        try:
            self.frame = self.world.tick(self.timeout_s)
        except RuntimeError as error:
            raise SimulatorFaultError(f"tick: {error}") from None
        return self.frame

    def destroy(self, actors: Sequence[int]) -> None:
        """Remove actors from the world, in this order."""
        self.client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in actors], False)

    def close(self) -> None:
        """Put the server's settings back as they were found."""
        self.world.apply_settings(self._original)

    @property
    def is_minicarla(self) -> bool:
        """Whether the server itself drives vehicles of a certain role: minicarla says so."""
        return any(
            AUTOPILOT_ROLE in blueprint.get_attribute("role_name").recommended_values
            for blueprint in self.blueprints.filter("vehicle.tesla.model3")
        )

    def _select_map(self, wanted: str) -> Any:
        current = self.world.get_map()
        path = Path(wanted)
        if path.suffix == ".xodr":
            try:
                text = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise MapUnavailableError(f"cannot read the map {wanted}: {error}") from None
            if current.to_opendrive() == text:
                return current
            self.world = self.client.generate_opendrive_world(text)
            return self.world.get_map()
        if _base(current.name) == _base(wanted):
            return current
        try:
            self.world = self.client.load_world(wanted)
        except RuntimeError as error:
            try:
                there = ", ".join(sorted(map(_base, self.client.get_available_maps())))
            except RuntimeError:
                there = _base(current.name)
            raise MapUnavailableError(
                f"the server at {self.address} cannot load the map {wanted!r} ({error}); it has: {there}"
            ) from None
        return self.world.get_map()

    def _remove_stale_actors(self) -> bool:
        """Destroy what dead processes of this machine left in the world; whether there was anything."""
        stale = []
        for actor in self.world.get_actors():
            role = actor.attributes.get("role_name", "").removeprefix(AUTOPILOT_ROLE + ":")
            mark, _, owner = role.partition(":")
            host, _, pid = owner.rpartition(":")
            if mark == _MARK and host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
                stale.append(actor)
        stale.sort(key=lambda actor: not actor.type_id.startswith("sensor."))  # sensors before their cars
        self.destroy([actor.id for actor in stale])
        return bool(stale)


class CameraStream:
    """The pictures of one camera, matched by frame."""

    def __init__(self, sensor: Any) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.sensor = sensor
        self._seen = False
        sensor.listen(self._queue.put)

    def sending(self, timeout_s: float) -> bool:
        """Whether a picture has come since the camera was switched on, waiting for the first."""
        if not self._seen:
            try:
                self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
                self._seen = True
            except queue.Empty:
                pass
        return self._seen

    def wait(self, frame: int, timeout_s: float) -> NDArray[np.uint8]:
        """(height, width, 4) BGRA picture of exactly ``frame``; valid until dropped.

        Raises:
            SimulatorFaultError: it does not come in time, or the camera skipped the frame.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                image = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise SimulatorFaultError(f"no picture of frame {frame} within {timeout_s:g} s") from None
            if image.frame == frame:
                flat: NDArray[np.uint8] = np.frombuffer(image.raw_data, np.uint8)
                return flat.reshape(image.height, image.width, 4)
            if image.frame > frame:
                raise SimulatorFaultError(f"the camera skipped frame {frame} (next: {image.frame})")


class EventStream:
    """The events of one sensor (collisions, lane invasions, obstacles), by frame."""

    def __init__(self, sensor: Any) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._early: list[Any] = []
        self.sensor = sensor
        sensor.listen(self._queue.put)

    def until(self, frame: int) -> list[Any]:
        """Take the events of frames up to and including ``frame``; later ones are kept."""
        events, self._early = self._early, []
        while True:
            try:
                events.append(self._queue.get_nowait())
            except queue.Empty:
                break
        taken: list[Any] = []
        for event in events:
            (taken if event.frame <= frame else self._early).append(event)
        return taken


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
