"""One synchronous session with a CARLA server: connection, map, settings, clock, pictures, events.

What CARLA's client gets wrong, and what is done about it here:

* It waits for ever, or aborts its process, when the server fails.  Every wait here has a limit.  What
  cannot be limited is caught by the supervisor, which holds this process to a deadline.
* A camera picture may arrive before or after the tick that made it.  :class:`CameraStream` hands
  out the picture of the wanted frame or an error, never an older one.
* A second client that ticks is not refused.  Here one step is exactly one tick, or an error.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import carla
import numpy as np
from numpy.typing import NDArray

from av_td3.config import STEP_SECONDS, parse_address
from av_td3.driving.errors import (
    MapUnavailableError,
    ServerTakenError,
    SimulatorFaultError,
    SimulatorUnreachableError,
    SimulatorVersionError,
)
from av_td3.driving.ownership import ServerClaim, describe_process, is_alive, other_clients

CARLA_VERSION = "0.9.16"
PROBE_SECONDS = 1.0
"""How long a synchronous server is watched for ticks of other clients before it is used."""
AUTOPILOT_ROLE = "minicarla:autopilot"
"""Vehicles whose ``role_name`` begins with this are driven by minicarla's own traffic."""
_MARK = "av_td3"


class DrivingSession:
    """A connected client whose world runs in synchronous steps of 0.05 s, and that alone ticks it.

    Args:
        address: ``host:port``.
        map_name: a map's name, or the path of an OpenDRIVE file.
        timeout_s: how long the server may take to answer the first call.
        setup_timeout_s: the same for what is slow, such as loading a map; in force until
            :meth:`set_timeout`.
        own_server: the server was started for this session, so nobody else can be there.

    Raises:
        SimulatorUnreachableError: no CARLA server answers at the address.
        SimulatorVersionError: the server is not CARLA 0.9.16.
        MapUnavailableError: the server cannot load the map.
        ServerTakenError: another client drives on the server.
    """

    def __init__(
        self, address: str, map_name: str, timeout_s: float, setup_timeout_s: float, own_server: bool = False
    ) -> None:
        host, self._port = parse_address(address)
        self.address = f"{host}:{self._port}"
        self._claim = ServerClaim(host, self._port)
        try:
            self.client = self._connect(host, timeout_s)
            self.set_timeout(setup_timeout_s)
            self.world: carla.World = self.client.get_world()
            self._original = self.world.get_settings()
            if not own_server:
                self._refuse_a_ticking_world()
            self.map = self._select_map(map_name)
            self.blueprints = self.world.get_blueprint_library()
            settings = self.world.get_settings()
            settings.synchronous_mode = True
            settings.fixed_delta_seconds = STEP_SECONDS
            self.world.apply_settings(settings)
            self.role = f"{_MARK}:{socket.gethostname()}:{os.getpid()}"
            """``role_name`` of what this process spawns.  It tells later who left an actor behind."""
            self._weather: carla.WeatherParameters | None = None  # the server's own, once it was changed
            self.frame = 0
            """The simulator's present frame; 0 before the first tick."""
            self.tick()  # in synchronous mode the client knows of no actor before its first tick
            if self._remove_stale_actors():
                # A process that died cannot have put the settings back: they were its own.
                self._original.synchronous_mode = False
                self._original.fixed_delta_seconds = None
                self.tick()
        except BaseException:
            self._claim.release()
            raise

    def set_timeout(self, seconds: float) -> None:
        """Limit of every call to the server and of every wait for a picture."""
        self.timeout_s = seconds
        self.client.set_timeout(seconds)

    def tick(self) -> int:
        """Advance the simulator by exactly one step; returns the new frame.

        Raises:
            SimulatorFaultError: no answer within the time limit, or somebody else advanced it too.
        """
        try:
            frame = int(self.world.tick(self.timeout_s))
        except RuntimeError as error:
            raise SimulatorFaultError(f"tick: {error}") from None
        before, self.frame = self.frame, frame
        if before and frame != before + 1:
            raise SimulatorFaultError(
                f"one tick led from frame {before} to frame {frame}: {other_clients(self._port)} advances "
                f"the server at {self.address} as well. One server serves one environment at a time"
            )
        return frame

    def set_weather(self, weather: carla.WeatherParameters) -> None:
        """Change weather and light from the next tick on; :meth:`close` puts back what was there."""
        if self._weather is None:
            self._weather = self.world.get_weather()
        self.world.set_weather(weather)

    def flush(self) -> None:
        """One tick, so that the server does what it was asked to; its frame is of no interest."""
        with contextlib.suppress(RuntimeError):
            self.frame = int(self.world.tick(self.timeout_s))

    def destroy(self, actors: Sequence[int]) -> None:
        """Remove actors from the world, in this order."""
        self.client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in actors], False)

    def close(self) -> None:
        """Put the server's settings back as they were found, and give the server free."""
        try:
            if self._weather is not None:
                self.world.set_weather(self._weather)
            self.world.apply_settings(self._original)
        finally:
            self._claim.release()

    @property
    def is_minicarla(self) -> bool:
        """Whether the server itself drives vehicles of a certain role: minicarla says so."""
        return any(
            AUTOPILOT_ROLE in blueprint.get_attribute("role_name").recommended_values
            for blueprint in self.blueprints.filter("vehicle.tesla.model3")
        )

    def _connect(self, host: str, timeout_s: float) -> carla.Client:
        try:
            # One streaming thread: with several, messages of one tick arrive in any order.
            client = carla.Client(host, self._port, worker_threads=1)
            client.set_timeout(timeout_s)
            version = client.get_server_version()
        except RuntimeError as error:
            raise SimulatorUnreachableError(
                f"no CARLA server answers at {self.address} within {timeout_s:g} s ({error}). Start it, or "
                "correct env.simulator.address; without an address a minicarla is started for you"
            ) from None
        if version.split("-")[0] != CARLA_VERSION:
            raise SimulatorVersionError(
                f"the server at {self.address} is CARLA {version}; this client needs {CARLA_VERSION}"
            )
        return client

    def _refuse_a_ticking_world(self) -> None:
        """In synchronous mode the world moves only when a client ticks it.  If it moves, one does."""
        if not self._original.synchronous_mode:
            return
        try:
            self.world.wait_for_tick(PROBE_SECONDS)
        except RuntimeError:
            return  # nobody ticked
        raise ServerTakenError(
            f"the CARLA server at {self.address} is in synchronous mode and is ticked by "
            f"{other_clients(self._port)}. One server serves one environment at a time: end the other "
            "program, or start a second server on another port"
        )

    def _select_map(self, wanted: str) -> carla.Map:
        current = self.world.get_map()
        path = Path(wanted)
        if path.suffix == ".xodr":
            try:
                text = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise MapUnavailableError(f"cannot read the map {wanted}: {error}") from None
            if current.to_opendrive() == text:
                return current
            self._refuse_to_replace_a_world_in_use(wanted, current)
            self.world = self.client.generate_opendrive_world(text)
            return self.world.get_map()
        if _base(current.name) == _base(wanted):
            return current
        self._refuse_to_replace_a_world_in_use(wanted, current)
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

    def _refuse_to_replace_a_world_in_use(self, wanted: str, current: carla.Map) -> None:
        """Loading another map would destroy whatever other clients have spawned."""
        with contextlib.suppress(RuntimeError):  # a client knows of no actor before its first snapshot
            if self._original.synchronous_mode:
                self.world.tick(self.timeout_s)
            else:
                self.world.wait_for_tick(self.timeout_s)
        strangers = [
            actor for actor in self.world.get_actors().filter("vehicle.*") if not _Mark.of(actor).is_remains
        ]
        if strangers:
            role = strangers[0].attributes.get("role_name", "")
            raise ServerTakenError(
                f"the server at {self.address} shows the map {_base(current.name)} with {len(strangers)} "
                f"vehicle(s) of another client (the first is a {strangers[0].type_id} with role_name "
                f"{role!r}). Loading {wanted} would destroy them: remove them first, or drive on that map"
            )

    def _remove_stale_actors(self) -> bool:
        """Destroy what processes that are gone have left in the world; whether there was anything.

        Raises:
            ServerTakenError: a process that is still there has spawned actors of this software.
        """
        stale = []
        for actor in self.world.get_actors():
            mark = _Mark.of(actor)
            if mark.is_remains:
                stale.append(actor)
            elif mark.is_ours:
                raise ServerTakenError(
                    f"the CARLA server at {self.address} is in use by {describe_process(mark.pid)}. One "
                    "server serves one environment at a time"
                )
        stale.sort(key=lambda actor: not actor.type_id.startswith("sensor."))  # sensors before their cars
        self.destroy([actor.id for actor in stale])
        return bool(stale)


class _Mark(NamedTuple):
    """What an actor's ``role_name`` says about the process that spawned it."""

    host: str = ""
    pid: int = 0

    @classmethod
    def of(cls, actor: carla.Actor) -> _Mark:
        role = actor.attributes.get("role_name", "").removeprefix(AUTOPILOT_ROLE + ":")
        mark, _, owner = role.partition(":")
        host, _, pid = owner.rpartition(":")
        return cls(host, int(pid)) if mark == _MARK and pid.isdigit() else cls()

    @property
    def is_ours(self) -> bool:
        """Whether this software spawned it, in whichever process."""
        return self.pid > 0

    @property
    def is_remains(self) -> bool:
        """Whether the process that spawned it is gone.

        A process of another machine cannot be seen from here.  But nobody ticks this server, so it
        is taken to be gone as well: an interrupted container leaves such actors.
        """
        return self.is_ours and (self.host != socket.gethostname() or not is_alive(self.pid))


class CameraStream:
    """The pictures of one camera, matched by frame."""

    def __init__(self, sensor: carla.Sensor) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.sensor = sensor
        self._seen = False
        self._size = tuple(int(sensor.attributes[f"image_size_{axis}"]) for axis in "xy")
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
            SimulatorFaultError: it does not come in time, has another size, or the camera skipped the frame.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                image = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise SimulatorFaultError(f"no picture of frame {frame} within {timeout_s:g} s") from None
            if image.frame == frame:
                flat: NDArray[np.uint8] = np.frombuffer(image.raw_data, np.uint8)
                width, height = self._size
                if (image.width, image.height) != self._size or len(flat) != 4 * width * height:
                    raise SimulatorFaultError(
                        f"the camera sent a picture of {image.width} x {image.height} pixels and "
                        f"{len(flat)} bytes instead of {width} x {height} pixels"
                    )
                return flat.reshape(image.height, image.width, 4)
            if image.frame > frame:
                raise SimulatorFaultError(f"the camera skipped frame {frame} (next: {image.frame})")


class EventStream:
    """The events of one sensor (collisions, lane invasions, obstacles), by frame."""

    def __init__(self, sensor: carla.Sensor) -> None:
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
