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
import queue
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from av_td3.driving.ownership import ONE_AT_A_TIME, Mark, ServerClaim, other_clients

CARLA_VERSION = "0.9.16"
PROBE_SECONDS = 1.0
"""How long a synchronous server is watched for ticks of other clients before it is used."""
REMOTE_PROBE_SECONDS = 20.0
"""The same when actors of a process on another machine are found: it may be busy between two steps."""
AUTOPILOT_ROLE = "minicarla:autopilot"
"""Vehicles whose ``role_name`` begins with this are driven by minicarla's own traffic.  ``@60`` after it: at
60 % of the speed limit.  Then, after a colon, any text."""


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
        self.frame = 0
        """The simulator's present frame; 0 before the first tick."""
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
            self.role = str(Mark.own())
            """``role_name`` of what this process spawns.  It tells later who left an actor behind."""
            self._weather: carla.WeatherParameters | None = None  # the server's own, once it was changed
            self.frame = 0  # a new world may count from another number
            self.tick()  # in synchronous mode the client knows of no actor before its first tick
            if self._remove_stale_actors():
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
                f"one tick led from frame {before} to frame {frame}: {self._who_else()} advances "
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
                f"no CARLA server answers at {self.address} within {timeout_s:g} s ({error})"
            ) from None
        if version.split("-")[0] != CARLA_VERSION:
            raise SimulatorVersionError(
                f"the server at {self.address} is CARLA {version}; this client needs {CARLA_VERSION}"
            )
        return client

    def _refuse_a_ticking_world(self) -> None:
        if self._is_ticked_by_others(PROBE_SECONDS):
            raise ServerTakenError(
                f"the CARLA server at {self.address} is in synchronous mode and is ticked by "
                f"{self._who_else()}. {ONE_AT_A_TIME}"
            )

    def _is_ticked_by_others(self, seconds: float) -> bool:
        """In synchronous mode the world moves only when a client ticks it.  If it moves, one does."""
        if not self._original.synchronous_mode:
            return False
        if self.frame and self.world.get_snapshot().frame != self.frame:
            return True  # since our own last tick
        try:
            self.world.wait_for_tick(seconds)
        except RuntimeError:
            return False
        return True

    def _who_else(self) -> str:
        """Who else uses the server, as far as one can tell; for messages."""
        clients = other_clients(self._port)
        with contextlib.suppress(RuntimeError):
            marks = {mark for actor in self.world.get_actors() if (mark := _mark(actor)) is not None}
            remote = sorted({mark.owner for mark in marks if not mark.is_of_this_machine})
            if remote:
                clients += f" (in the world are actors of {', '.join(remote)})"
        return clients

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
                self.frame = int(self.world.tick(self.timeout_s))
            else:
                self.world.wait_for_tick(self.timeout_s)
        if self._remains():
            self._disown_settings()
        strangers = [a for a in self.world.get_actors().filter("vehicle.*") if _mark(a) is None]
        if strangers:
            role = strangers[0].attributes.get("role_name", "")
            raise ServerTakenError(
                f"the server at {self.address} shows the map {_base(current.name)} with {len(strangers)} "
                f"vehicle(s) of another client (the first is a {strangers[0].type_id} with role_name "
                f"{role!r}). Loading {wanted} would destroy them: remove them first, or drive on that map"
            )

    def _remove_stale_actors(self) -> bool:
        """Destroy what processes that are gone have left in the world; whether there was anything."""
        stale = self._remains()
        if stale:
            self._disown_settings()
        stale.sort(key=lambda actor: not actor.type_id.startswith("sensor."))  # sensors before their cars
        self.destroy([actor.id for actor in stale])
        return bool(stale)

    def _disown_settings(self) -> None:
        """Not to be put back: a process that died has left its own settings behind."""
        self._original.synchronous_mode = False
        self._original.fixed_delta_seconds = None

    def _remains(self) -> list[carla.Actor]:
        """The actors that this software spawned, in processes that are gone or in a past session of this one.

        Whether a process of another machine is gone cannot be seen from here.  It is taken to be gone when
        nobody ticks the server: an interrupted container leaves such actors.

        Raises:
            ServerTakenError: a process that is still there has spawned some of them.
        """
        marked = [(actor, mark) for actor in self.world.get_actors() if (mark := _mark(actor)) is not None]
        marks = {mark for _, mark in marked}
        # This process has no other session on the server: what is its own, a session that failed left behind.
        owners = [mark.owner for mark in marks if mark.is_alive and mark != Mark.own()]
        remote = [mark.owner for mark in marks if not mark.is_of_this_machine]
        if not owners and remote and self._is_ticked_by_others(REMOTE_PROBE_SECONDS):
            owners = remote
        if owners:
            found = ", ".join(sorted(owners))
            raise ServerTakenError(
                f"the CARLA server at {self.address} is in use by {found}. {ONE_AT_A_TIME}"
            )
        return [actor for actor, _ in marked]


def _mark(actor: carla.Actor) -> Mark | None:
    """Which process of this software has spawned the actor; None if none has."""
    return Mark.of(re.sub(rf"^{AUTOPILOT_ROLE}(@\d+)?:", "", actor.attributes.get("role_name", "")))


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
