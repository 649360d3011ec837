"""Recording and replaying, with CARLA's calls and a format of minicarla's own.

A recording is a line of text, :data:`MAGIC`, then msgpack objects: a header
``{"map", "date", "opendrive"}`` and one array a tick::

    [frame, elapsed, spawned, destroyed, moving, contacts, spectator]

``spawned``: ``[id, parent, blueprint, [[attribute, value]...], pose]`` of the actors that came
since the last tick; ``destroyed``: ids; ``moving``: bytes of a :data:`MOVING` array, one row a
vehicle or walker; ``contacts``: ``[id, id or -1, static kind]``; ``spectator``: its pose.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgpack
import numpy as np

from minicarla.geometry import Transform, compose, wrap_degrees
from minicarla.wire.structs import ActorAttributeValue, ActorDescription
from minicarla.world.actors import Actor, Vehicle

if TYPE_CHECKING:
    from minicarla.world.world import World

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
    """A file that cannot be recorded to, or is no recording; the message says why."""


def path_of(name: str) -> Path:
    """The file that a client names.  It must end in .log or .rec, and never replaces another kind of file."""
    path = Path(name).expanduser()
    if path.suffix not in SUFFIXES:
        raise RecordingError(f"a recording's name ends in {' or '.join(SUFFIXES)}: {name!r}")
    if path.exists() and (not path.is_file() or not _is_recording(path)):
        raise RecordingError(f"{path} is there already and is no recording")
    return path.absolute()


def _is_recording(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class Recorder:
    """Writes a recording, tick by tick."""

    def __init__(self, world: World, name: str) -> None:
        self.path = path_of(name)
        try:
            self._file: IO[bytes] = self.path.open("wb")
        except OSError as error:
            raise RecordingError(f"cannot write {self.path}: {error.strerror}") from None
        self._known: dict[int, Actor] = {}
        self._start = world.elapsed
        date = time.strftime("%m/%d/%y %H:%M:%S")
        self._file.write(MAGIC)
        self._write({"map": world.roadmap.name, "date": date, "opendrive": world.roadmap.opendrive})

    def _write(self, value: Any) -> None:
        self._file.write(msgpack.packb(value))

    def record(self, world: World, contacts: Sequence[Any]) -> None:
        """Write the tick that has just been made."""
        destroyed = [actor_id for actor_id in self._known if actor_id not in world.actors]
        for actor_id in destroyed:
            del self._known[actor_id]
        spawned = []
        for actor in world.actors.values():
            if actor.id not in self._known:
                self._known[actor.id] = actor
                spawned.append(_spawned(world, actor))
        bodies = world.bodies
        moving = np.zeros(len(bodies), MOVING)
        moving["id"] = bodies.id
        moving["position"] = bodies.position
        moving["rotation"] = bodies.rotation
        moving["velocity"] = bodies.velocity
        moving["control"] = np.stack([bodies.throttle, bodies.steer, bodies.brake], axis=1)
        moving["lights"] = [getattr(world.actors[actor_id], "lights", 0) for actor_id in bodies]
        hits = [
            [contact.a, contact.b, "" if contact.b >= 0 else world.roadmap.statics[contact.static].kind]
            for contact in contacts
        ]
        self._write(
            [
                world.frame,
                world.elapsed - self._start,
                spawned,
                destroyed,
                moving.tobytes(),
                hits,
                list(world.spectator.pose),
            ]
        )

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _spawned(world: World, actor: Actor) -> list[Any]:
    attributes = [[row.id, row.value] for row in actor.description.attributes]
    attached = actor.parent is not None and not actor.embodied
    pose = actor.offset if attached else world.pose(actor)
    return [actor.id, actor.parent.id if actor.parent else 0, actor.type_id, attributes, list(pose)]


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
            raise RecordingError(f"{path} is no recording of minicarla")
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
            raise RecordingError(f"{path} holds no tick")
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


# ---------------------------------------------------------------------- CARLA's reports


def _head(recording: Recording) -> list[str]:
    return [f"Version: 1\nMap: {recording.map}\nDate: {recording.date}\n"]


def _foot(recording: Recording) -> list[str]:
    return [f"\nFrames: {len(recording.ticks)}\nDuration: {recording.duration:g} seconds\n"]


def describe(name: str, everything: bool) -> str:
    """``Client.show_recorder_file_info``: spawns, ends and collisions; ``everything``: positions too."""
    recording = Recording(name)
    lines = _head(recording)
    for tick in recording.ticks:
        body = [
            f" Create {row[0]}: {row[2]} at ({row[4][0]:g}, {row[4][1]:g}, {row[4][2]:g})"
            for row in tick.spawned
        ]
        body += [f" Destroy {actor_id}" for actor_id in tick.destroyed]
        body += [f" Collision between {a} and {b if b >= 0 else kind}" for a, b, kind in tick.contacts]
        if everything:
            body += [
                " Id: {} Location: ({:g}, {:g}, {:g}) Rotation: ({:g}, {:g}, {:g})".format(
                    row["id"], *row["position"].tolist(), *row["rotation"].tolist()
                )
                for row in tick.moving
            ]
        if body:
            lines += [f"Frame {tick.frame} at {tick.elapsed:g} seconds", *body]
    return "\n".join(lines + _foot(recording))


def _category(blueprint: str, role: str) -> str:
    if role == "hero":
        return "h"
    return {"vehicle": "v", "walker": "w", "traffic": "t"}.get(blueprint.split(".")[0], "o")


def collisions(name: str, first: str, second: str) -> str:
    """``Client.show_recorder_collisions``; categories h, v, w, t, o or a for any."""
    recording = Recording(name)
    names = recording.names()
    lines = [*_head(recording), f"{'Time':>8} {'Types':>6} {'Id':>6} {'Actor 1':<36} {'Id':>6} Actor 2"]
    before: set[tuple[int, int]] = set()
    for tick in recording.ticks:
        now = {(a, b) for a, b, _ in tick.contacts}
        for a, b, kind in tick.contacts:
            if (a, b) in before:
                continue  # still the same collision
            one = names.get(a, ("unknown", ""))
            two = names.get(b, ("unknown", "")) if b >= 0 else (f"static.{kind}", "")
            types = (_category(*one), _category(*two))
            if all(want in ("a", have) for want, have in zip((first, second), types, strict=True)):
                lines.append(
                    f"{tick.elapsed:8.2f} {types[0]:>3} {types[1]} {a:>7} {one[0]:<36} {b:>6} {two[0]}"
                )
        before = now
    return "\n".join(lines + _foot(recording))


def blocked(name: str, least_seconds: float, distance: float) -> str:
    """``Client.show_recorder_actors_blocked``: vehicles that moved less than ``distance`` metres
    for at least ``least_seconds``, longest first."""
    recording = Recording(name)
    names = recording.names()
    since: dict[int, tuple[float, np.ndarray]] = {}
    rows = []

    def leave(actor_id: int, now: float) -> None:
        start, _ = since.pop(actor_id)
        if now - start >= least_seconds:
            rows.append((now - start, start, actor_id))

    for tick in recording.ticks:
        for actor_id in tick.destroyed:
            if actor_id in since:
                leave(actor_id, tick.elapsed)
        for row in tick.moving:
            actor_id, position = int(row["id"]), row["position"].astype(float)
            if not names.get(actor_id, ("", ""))[0].startswith("vehicle."):
                continue
            if actor_id in since and np.linalg.norm(position - since[actor_id][1]) >= distance:
                leave(actor_id, tick.elapsed)
            since.setdefault(actor_id, (tick.elapsed, position))
    for actor_id in list(since):
        leave(actor_id, recording.times[-1])
    lines = [*_head(recording), f"{'Time':>8} {'Id':>6} {'Actor':<36} {'Duration':>9}"]
    lines += [
        f"{start:8.2f} {actor_id:>6} {names[actor_id][0]:<36} {seconds:9.2f}"
        for seconds, start, actor_id in sorted(rows, key=lambda row: (-row[0], row[1], row[2]))
    ]
    return "\n".join(lines + _foot(recording))


# ---------------------------------------------------------------------- replaying


class Replayer:
    """Plays a recording into the world: its actors come, move and go as they did.

    start: seconds from the beginning, or from the end when negative.  duration: seconds, 0 for
    all.  follow: id (of then) of the actor that the spectator follows at ``offset``.
    """

    def __init__(
        self,
        world: World,
        recording: Recording,
        start: float,
        duration: float,
        follow: int,
        with_sensors: bool,
        offset: Transform,
    ) -> None:
        self.recording = recording
        first, last = recording.times[0], recording.times[-1]
        begin = first + start if start >= 0 else last + start
        self.time = min(max(begin, first), last)
        self.end = min(self.time + duration, last) if duration > 0 else last
        self.begin = self.time
        self._follow, self._offset, self._with_sensors = follow, offset, with_sensors
        self._next = 0  # tick whose comings and goings are still to be played
        self._ids: dict[int, int] = {}  # then -> now
        self._created: list[int] = []
        self._play(world)

    @property
    def finished(self) -> bool:
        """Whether the end has been reached."""
        return self.time >= self.end

    def advance(self, world: World, dt: float) -> None:
        """Go on by ``dt`` recorded seconds."""
        self.time = min(self.time + dt, self.end)
        self._play(world)

    def _play(self, world: World) -> None:
        ticks = self.recording.ticks
        here = bisect_right(self.recording.times, self.time + 1e-9) - 1
        while self._next <= here:
            self._come_and_go(world, ticks[self._next])
            self._next += 1
        now, after = ticks[here], ticks[min(here + 1, len(ticks) - 1)]
        gap = after.elapsed - now.elapsed
        share = (self.time - now.elapsed) / gap if gap > 0 else 0.0
        later = {int(row["id"]): row for row in after.moving} if share > 1e-9 else {}
        for row in now.moving:
            actor = world.actors.get(self._ids.get(int(row["id"]), 0))
            if actor is not None and not (world.replay_ignores_hero and _is_hero(actor)):
                _move(world, actor, row, later.get(int(row["id"])), share)
        if self._follow in self._ids and self._ids[self._follow] in world.actors:
            leader = world.pose(world.actors[self._ids[self._follow]])
            world.spectator.pose = compose(leader, self._offset)
        elif not world.replay_ignores_spectator:
            world.spectator.pose = now.spectator

    def _come_and_go(self, world: World, tick: Tick) -> None:
        for actor_id in tick.destroyed:
            world.destroy(self._ids.pop(actor_id, 0))
        for then, parent, blueprint, attributes, pose in tick.spawned:
            there = world.actors.get(then)
            if there is not None and there.type_id == blueprint:
                self._ids[then] = then  # the world still has it
            elif blueprint.startswith(("vehicle.", "walker.", "static.")) or (
                self._with_sensors and blueprint.startswith("sensor.")
            ):
                description = ActorDescription(
                    0, blueprint, [ActorAttributeValue(key, 4, value) for key, value in attributes]
                )
                actor = world.spawn(
                    description, Transform(*pose), self._ids.get(parent, 0), require_room=False
                )
                self._ids[then] = actor.id
                self._created.append(actor.id)

    def stop(self, world: World, keep_actors: bool) -> None:
        """Leave the actors standing under their own physics, or remove those that were created."""
        for actor_id in self._ids.values():
            actor = world.actors.get(actor_id)
            if actor is not None and actor.embodied:
                row = world.bodies.row(actor_id)
                world.bodies.simulate_physics[row] = True
                world.bodies.velocity[row] = 0.0
                world.bodies.throttle[row] = 0.0
        if not keep_actors:
            for actor_id in reversed(self._created):
                world.destroy(actor_id)

    def summary(self) -> str:
        """What ``Client.replay_file`` says."""
        return (
            f"Replaying File: {self.recording.path}\n\n"
            f"Total time recorded: {self.recording.duration:g}\n"
            f"Replaying from {self.begin:g} s - {self.end:g} s ({self.end - self.begin:g} s)"
        )


def _is_hero(actor: Actor) -> bool:
    return actor.attributes.get("role_name") == "hero"


def _move(world: World, actor: Actor, row: Any, later: Any, share: float) -> None:
    position, rotation = row["position"].astype(float), row["rotation"].astype(float)
    if later is not None:
        position += share * (later["position"] - position)
        rotation += share * np.array([wrap_degrees(float(turn)) for turn in later["rotation"] - rotation])
    if not (math.isfinite(position.sum()) and math.isfinite(rotation.sum())):
        return
    bodies, index = world.bodies, world.bodies.row(actor.id)
    bodies.simulate_physics[index] = False
    bodies.position[index] = position
    bodies.rotation[index] = rotation
    bodies.velocity[index] = np.nan_to_num(row["velocity"])
    bodies.throttle[index], bodies.steer[index], bodies.brake[index] = np.nan_to_num(row["control"]).tolist()
    if isinstance(actor, Vehicle):
        actor.lights = int(row["lights"])


__all__ = ["Recorder", "Recording", "RecordingError", "Replayer", "blocked", "collisions", "describe"]
