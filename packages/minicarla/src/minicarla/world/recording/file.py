"""The file of a recording, in a format of minicarla's own.

A recording is a line of text, :data:`MAGIC`, then msgpack objects: a header
``{"map", "date", "opendrive"}`` and one array a tick::

    [frame, elapsed, spawned, destroyed, moving, contacts, spectator]

``spawned``: ``[id, parent, blueprint, [[attribute, value]...], pose]`` of the actors that came
since the last tick; ``destroyed``: ids; ``moving``: bytes of a :data:`MOVING` array, one row a
vehicle or walker; ``contacts``: ``[id, id or -1, static kind]``; ``spectator``: its pose.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgpack
import numpy as np

from minicarla.geometry import Transform
from minicarla.world.actors import Actor, Vehicle
from minicarla.world.table import ActorTable
from minicarla.world.view import View

MAGIC = b"minicarla recording 1\n"
SUFFIXES = (".log", ".rec")
MAX_BYTES = 1 << 32

# What a tick keeps of a body: metres, degrees, m/s.
MOVING = np.dtype(
    [
        ("id", "<u4"),
        ("position", "<f4", 3),
        ("rotation", "<f4", 3),
        ("velocity", "<f4", 3),
        ("control", "<f4", 3),  # throttle, steer, brake
        ("lights", "<u4"),
    ]
)


class RecordingError(ValueError):
    """A file that cannot be recorded to, or that is not a recording; the message says why."""


def path_of(name: str) -> Path:
    """The file that a client names.  It must end in .log or .rec, and never replaces another kind of file."""
    path = Path(name).expanduser()
    if path.suffix not in SUFFIXES:
        raise RecordingError(f"a recording's name ends in {' or '.join(SUFFIXES)}: {name!r}")
    if path.exists() and (not path.is_file() or not _is_recording(path)):
        raise RecordingError(f"{path} exists already and is not a recording")
    return path.absolute()


def _is_recording(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class RecordingWriter:
    """Writes a recording, tick by tick.

    name: of the file, see :func:`path_of`.  view, actors: of the world that is recorded.  RecordingError
    when the file cannot be written.
    """

    def __init__(self, name: str, view: View, actors: ActorTable) -> None:
        self.path = path_of(name)
        try:
            self._file: IO[bytes] = self.path.open("wb")
        except OSError as error:
            raise RecordingError(f"cannot write {self.path}: {error.strerror}") from None
        self._view, self._actors = view, actors
        self._known: dict[int, Actor] = {}
        self._start = view.time
        date = time.strftime("%m/%d/%y %H:%M:%S")
        self._file.write(MAGIC)
        self._write({"map": view.roadmap.name, "date": date, "opendrive": view.roadmap.opendrive})

    def _write(self, value: Any) -> None:
        self._file.write(msgpack.packb(value))

    def record(self) -> None:
        """Write the tick that has just been made."""
        actors, view = self._actors, self._view
        destroyed = [actor_id for actor_id in self._known if actor_id not in actors]
        for actor_id in destroyed:
            del self._known[actor_id]
        spawned = []
        for actor in actors.values():
            if actor.id not in self._known:
                self._known[actor.id] = actor
                spawned.append(self._spawned(actor))
        bodies = actors.bodies
        moving = np.zeros(len(bodies), MOVING)
        moving["id"] = bodies.id
        moving["position"] = bodies.position
        moving["rotation"] = bodies.rotation
        moving["velocity"] = bodies.velocity
        moving["control"] = np.stack([bodies.throttle, bodies.steer, bodies.brake], axis=1)
        moving["lights"] = [_lights(actors[actor_id]) for actor_id in bodies]
        hits = [
            [contact.a, contact.b, "" if contact.b >= 0 else view.roadmap.statics[contact.static].kind]
            for contact in view.contacts
        ]
        self._write(
            [
                view.frame,
                view.time - self._start,
                spawned,
                destroyed,
                moving.tobytes(),
                hits,
                list(actors.spectator.pose),
            ]
        )

    def _spawned(self, actor: Actor) -> list[Any]:
        attributes = [[row.id, row.value] for row in actor.description.attributes]
        attached = actor.parent is not None and not actor.embodied
        pose = actor.offset if attached else self._actors.pose(actor)
        return [actor.id, actor.parent.id if actor.parent else 0, actor.type_id, attributes, list(pose)]

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _lights(actor: Actor) -> int:
    return actor.lights if isinstance(actor, Vehicle) else 0


class Tick(NamedTuple):
    """One tick of a recording."""

    frame: int
    elapsed: float
    spawned: list[Any]
    destroyed: list[int]
    moving: np.ndarray
    contacts: list[Any]
    spectator: Transform


class Recording:
    """A recording, read."""

    def __init__(self, name: str) -> None:
        path = Path(name).expanduser()
        try:
            if path.stat().st_size > MAX_BYTES:
                raise RecordingError(f"{path} is larger than {MAX_BYTES} bytes")
            data = path.read_bytes()
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror}") from None
        if not data.startswith(MAGIC):
            raise RecordingError(f"{path} is not a recording of minicarla")
        self.path = path
        try:
            objects = _objects(data[len(MAGIC) :])
            header = next(objects)
            self.map: str = str(header["map"])
            self.date: str = str(header["date"])
            self.opendrive: str = str(header["opendrive"])
            self.ticks = [
                Tick(
                    int(row[0]),
                    float(row[1]),
                    row[2],
                    row[3],
                    np.frombuffer(row[4], MOVING),
                    row[5],
                    Transform(*map(float, row[6])),
                )
                for row in objects
            ]
        except (
            ValueError,
            TypeError,
            LookupError,
            StopIteration,
            msgpack.exceptions.UnpackException,
        ) as error:
            raise RecordingError(f"{path} is damaged: {error!r}") from None
        if not self.ticks:
            raise RecordingError(f"{path} does not hold a single tick")
        self.times = [tick.elapsed for tick in self.ticks]

    @property
    def duration(self) -> float:
        """Seconds between the first and the last tick."""
        return self.times[-1] - self.times[0]

    def names(self) -> dict[int, tuple[str, str]]:
        """(blueprint, role name) of every actor in it, by its id then."""
        return {
            row[0]: (row[2], dict(row[3]).get("role_name", "")) for tick in self.ticks for row in tick.spawned
        }


def _objects(data: bytes) -> Iterator[Any]:
    """The whole msgpack objects in ``data``; a last one that was cut off is left out."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) + 1)
    unpacker.feed(data)
    yield from unpacker
