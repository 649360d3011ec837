"""The file of a recording, in a format of minicarla's own.

It is a line of text, :data:`MAGIC`, and then msgpack objects: a header
``{"map", "date", "opendrive", "additional"}`` and one array a tick::

    [frame, elapsed, spawned, destroyed, moving, contacts, lights, spectator, details]

* ``spawned``: ``[id, parent, blueprint, [[attribute, value]...], pose, offset]`` of the actors that
  came since the last tick; ``offset`` is the pose relative to the parent, None without one.
* ``destroyed``: ids.
* ``moving``: bytes of a :data:`MOVING` array, one row for each vehicle, walker, prop, and any other
  actor that CARLA records the position of.
* ``contacts``: ``[id, id or -1, what of the map was hit]``.
* ``lights``: bytes of a :data:`LIGHTS` array, one row for each traffic light.
* ``spectator``: its pose.
* ``details``: what ``start_recorder(..., additional_data=True)`` adds, see :class:`Details`; else None.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose, compose
from minicarla.wire import schema
from minicarla.wire.structs import VehiclePhysicsControl
from minicarla.world.actors import Actor, TrafficLight, Vehicle
from minicarla.world.episode import WorldEpisode

MAGIC = b"minicarla recording 2\n"
_ANY_MAGIC = b"minicarla recording "
SUFFIXES = (".log", ".rec")
MAX_BYTES = 1 << 30
"""Bytes of a recording that is read.  A hundred actors and thirty lights take 7 kB a tick, so it is two hours
of them at 20 ticks a second.  All of it is kept in memory, and the server does nothing else meanwhile."""
MAX_OBJECT_BYTES = 256 << 20
"""Bytes of one msgpack object: the header holds the map, a text of at most 64 Mi characters."""

MOVING = np.dtype(
    [
        ("id", "<u4"),
        ("position", "<f4", 3),  # metres
        ("rotation", "<f4", 3),  # pitch, yaw, roll, degrees
        ("velocity", "<f4", 3),  # m/s
        ("angular_velocity", "<f4", 3),  # degrees/s
        ("control", "<f4", 3),  # throttle, steer, brake
        ("hand_brake", "?"),
        ("gear", "i1"),
        ("walk_speed", "<f4"),  # m/s, as it was ordered
        ("lights", "<u4"),  # carla.VehicleLightState
    ]
)
"""What a tick keeps of an actor that can move."""

LIGHTS = np.dtype([("id", "<u4"), ("state", "u1"), ("frozen", "?"), ("elapsed", "<f4")])
"""What a tick keeps of a traffic light; ``elapsed``: seconds in the present state."""

_read_physics = schema.reader(VehiclePhysicsControl)


class RecordingError(ValueError):
    """A file that cannot be recorded to, or that is not a recording; the message says why."""


class NotARecordingError(RecordingError):
    """The file is there, but it is not a recording."""


class NoSuchRecordingError(RecordingError):
    """The file is not there."""


def path_of(name: str) -> Path:
    """The file that a client names.  It must end in .log or .rec, and never replaces another kind of file."""
    path, there = _find(name)
    if path.suffix not in SUFFIXES:
        raise RecordingError(f"the name of a recording must end in {' or '.join(SUFFIXES)}: {name!r}")
    if there is not None and _magic(path, there) != _ANY_MAGIC:
        raise RecordingError(f"{path} exists already and is not a recording")
    return path.absolute()


def _find(name: str) -> tuple[Path, os.stat_result | None]:
    """The path of a file that a client names, and what is there, None for nothing.

    RecordingError when no file can have that name, or when one cannot look.
    """
    path = Path(name)
    try:
        path = path.expanduser()
        return path, path.stat()
    except FileNotFoundError:
        return path, None
    except (RuntimeError, ValueError) as error:  # no such user; a character that no name can have
        raise RecordingError(f"no file can have the name {name!r}: {error}") from None
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None


def _open(path: Path, there: os.stat_result) -> IO[bytes]:
    """Open a file that a client names; NotARecordingError when it is a folder, a pipe or a device.

    Reading never waits: some files of /proc are regular ones and wait for the kernel.
    """
    if not stat.S_ISREG(there.st_mode):
        raise NotARecordingError(f"{path} is not a regular file")
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _magic(path: Path, there: os.stat_result) -> bytes:
    """As much of a file's beginning as tells that it is a recording; b"" when it cannot be read."""
    try:
        with _open(path, there) as file:
            return file.read(len(_ANY_MAGIC)) or b""
    except (OSError, NotARecordingError):
        return b""


class Details(NamedTuple):
    """What ``additional_data`` adds to a tick.  Lists hold the actors that came or changed in it."""

    platform_time: float
    """Seconds of real time since the recording began."""
    boxes: list[tuple[int, list[float]]]
    """Bounding boxes by actor id: centre and half sizes, metres, in the actor's frame."""
    volumes: list[tuple[int, list[float]]]
    """Trigger volumes of traffic lights and signs by actor id: centre (world) and half sizes, metres."""
    physics: list[tuple[int, VehiclePhysicsControl]]
    light_times: list[tuple[int, tuple[float, float, float]]]
    """Seconds of green, yellow and red by actor id."""


class RecordingWriter:
    """Writes a recording of an episode, tick by tick.

    name: of the file, see :func:`path_of`.  additional: also write :class:`Details`.  RecordingError
    when the file cannot be written.
    """

    def __init__(self, name: str, episode: WorldEpisode, additional: bool = False) -> None:
        self.path = path_of(name)
        self._episode, self._actors, self._additional = episode, episode.actors, additional
        self._known: dict[int, Actor] = {}
        self._physics: dict[int, VehiclePhysicsControl | None] = {}
        self._light_times: dict[int, tuple[float, float, float]] = {}
        self._start = episode.view.time
        self._start_platform = time.monotonic()
        try:
            self._file: IO[bytes] = self.path.open("wb")
            self._file.write(MAGIC)
            self._write(
                {
                    "map": episode.roadmap.name,
                    "date": time.strftime("%m/%d/%y %H:%M:%S"),
                    "opendrive": episode.roadmap.opendrive,
                    "additional": additional,
                }
            )
            self._file.flush()
        except OSError as error:
            raise RecordingError(f"cannot write {self.path}: {error.strerror}") from None

    def _write(self, value: object) -> None:
        self._file.write(msgpack.packb(value))

    def record(self) -> None:
        """Write the tick that has just been made."""
        actors, view = self._actors, self._episode.view
        destroyed = [actor_id for actor_id in self._known if actor_id not in actors]
        for actor_id in destroyed:
            del self._known[actor_id]
        spawned = [actor for actor in actors.values() if actor.id not in self._known]
        self._known |= {actor.id: actor for actor in spawned}
        statics = view.roadmap.statics
        self._write(
            [
                view.frame,
                view.time - self._start,
                [self._spawned(actor) for actor in spawned],
                destroyed,
                self._moving().tobytes(),
                [[hit.a, hit.b, "" if hit.b >= 0 else statics[hit.static].kind] for hit in view.contacts],
                self._lights().tobytes(),
                list(actors.spectator.pose),
                self._details(spawned) if self._additional else None,
            ]
        )

    def _spawned(self, actor: Actor) -> list[Any]:
        attributes = [[row.id, row.value] for row in actor.description.attributes]
        attached = actor.parent is not None and not actor.embodied
        return [
            actor.id,
            actor.parent.id if actor.parent else 0,
            actor.type_id,
            attributes,
            list(self._actors.pose(actor)),
            list(actor.offset) if attached else None,
        ]

    def _moving(self) -> NDArray[np.void]:
        bodies = self._actors.bodies
        others = [
            actor for actor in self._known.values() if not actor.embodied and actor_type(actor.type_id) == 0
        ]
        count = len(bodies)
        moving = np.zeros(count + len(others), MOVING)
        rows = moving[:count]
        rows["id"] = bodies.id
        rows["position"] = bodies.position
        rows["rotation"] = bodies.rotation
        rows["velocity"] = bodies.velocity
        rows["angular_velocity"] = bodies.angular_velocity
        rows["control"] = np.stack([bodies.throttle, bodies.steer, bodies.brake], axis=1)
        rows["hand_brake"] = bodies.hand_brake
        rows["gear"] = bodies.gear
        rows["walk_speed"] = bodies.walk_speed
        rows["lights"] = bodies.lamps
        for row, actor in zip(moving[count:], others, strict=True):
            row["id"], row["position"], row["rotation"] = actor.id, actor.pose[:3], actor.pose[3:]
        return moving

    def _lights(self) -> NDArray[np.void]:
        groups = self._episode.lights.groups
        rows = [
            (actor.id, actor.light.state, groups[actor.light.group].frozen, groups[actor.light.group].elapsed)
            for actor in self._actors.of_kind(TrafficLight)
        ]
        return np.array(rows, LIGHTS)

    def _details(self, spawned: list[Actor]) -> Details:
        volumes = [actor for actor in spawned if actor.type_id.startswith("traffic.")]
        boxes = [actor for actor in spawned if not actor.type_id.startswith("traffic.")]
        physics, times = [], []
        for vehicle in self._actors.of_kind(Vehicle):
            if vehicle.id not in self._physics or self._physics[vehicle.id] is not vehicle.physics_control:
                self._physics[vehicle.id] = vehicle.physics_control
                physics.append((vehicle.id, self._episode.vehicles.physics_control(vehicle.id)))
        for actor in self._actors.of_kind(TrafficLight):
            now = self._episode.lights.controller_of(actor.light).times
            if self._light_times.get(actor.id) != now:
                self._light_times[actor.id] = now
                times.append((actor.id, now))
        return Details(
            time.monotonic() - self._start_platform,
            [(actor.id, [*actor.box.location, *actor.box.extent]) for actor in boxes],
            [(actor.id, _volume(actor)) for actor in volumes],
            physics,
            times,
        )

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _volume(actor: Actor) -> list[float]:
    x, y, z, *_ = compose(actor.pose, Pose(*actor.box.location))
    return [x, y, z, *actor.box.extent]


def actor_type(blueprint: str) -> int:
    """CARLA's number for a kind of actor (``FCarlaActor::ActorType``)."""
    match blueprint.split("."):
        case ["vehicle", *_]:
            return 1
        case ["walker", *_]:
            return 2
        case ["traffic", "traffic_light"]:
            return 3
        case ["traffic", *_]:
            return 4
        case ["sensor", *_]:
            return 5
    return 0


class Spawned(NamedTuple):
    """An actor that came."""

    id: int
    parent: int
    blueprint: str
    attributes: list[tuple[str, str]]
    pose: Pose
    offset: Pose | None


class Tick(NamedTuple):
    """One tick of a recording; see the module for what the fields hold."""

    frame: int
    elapsed: float
    spawned: list[Spawned]
    destroyed: list[int]
    moving: NDArray[np.void]
    contacts: list[tuple[int, int, str]]
    lights: NDArray[np.void]
    spectator: Pose
    details: Details | None


class Recording:
    """A recording, read.

    NoSuchRecordingError when there is no such file, NotARecordingError when it is something else, and
    RecordingError when it cannot be read or is damaged.
    """

    def __init__(self, name: str) -> None:
        self.path, there = _find(name)
        if there is None:
            raise NoSuchRecordingError(f"there is no file {self.path}")
        try:
            with _open(self.path, there) as file:
                self._read(file)
        except RecordingError:
            raise
        except OSError as error:
            raise RecordingError(f"cannot read {self.path}: {error.strerror}") from None
        except (
            ValueError,
            TypeError,
            LookupError,
            StopIteration,
            msgpack.exceptions.UnpackException,
        ) as error:
            raise RecordingError(f"{self.path} is damaged: {error!r}") from None
        if not self.ticks:
            raise RecordingError(f"{self.path} does not hold a single tick")
        self.times = [tick.elapsed for tick in self.ticks]

    def _read(self, file: IO[bytes]) -> None:
        magic = file.read(len(MAGIC)) or b""
        if magic != MAGIC:
            reason = "of another version of minicarla" if magic.startswith(_ANY_MAGIC) else "not of minicarla"
            raise NotARecordingError(f"{self.path} is {reason}")
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise RecordingError(f"{self.path} is larger than {MAX_BYTES} bytes")
        # Whole objects; a last one that was cut off is left out.
        objects = msgpack.Unpacker(file, max_buffer_size=MAX_OBJECT_BYTES)
        header = next(objects)
        self.map: str = str(header["map"])
        self.date: str = str(header["date"])
        self.opendrive: str = str(header["opendrive"])
        self.ticks = [_tick(row) for row in objects]

    @property
    def duration(self) -> float:
        """Seconds between the first and the last tick."""
        return self.times[-1] - self.times[0]


def _tick(row: list[Any]) -> Tick:
    frame, elapsed, spawned, destroyed, moving, contacts, lights, spectator, details = row
    return Tick(
        int(frame),
        float(elapsed),
        [
            Spawned(
                int(actor_id),
                int(parent),
                str(blueprint),
                [(str(key), str(value)) for key, value in attributes],
                _pose(pose),
                None if offset is None else _pose(offset),
            )
            for actor_id, parent, blueprint, attributes, pose, offset in spawned
        ],
        [int(actor_id) for actor_id in destroyed],
        np.frombuffer(moving, MOVING),
        [(int(a), int(b), str(kind)) for a, b, kind in contacts],
        np.frombuffer(lights, LIGHTS),
        _pose(spectator),
        None if details is None else _read_details(*details),
    )


def _pose(numbers: list[Any]) -> Pose:
    return Pose(*map(float, numbers))


def _read_details(platform_time: Any, boxes: Any, volumes: Any, physics: Any, light_times: Any) -> Details:
    return Details(
        float(platform_time),
        [(int(actor_id), [float(number) for number in box]) for actor_id, box in boxes],
        [(int(actor_id), [float(number) for number in box]) for actor_id, box in volumes],
        [(int(actor_id), _read_physics(control)) for actor_id, control in physics],
        [(int(actor_id), (float(g), float(y), float(r))) for actor_id, (g, y, r) in light_times],
    )
