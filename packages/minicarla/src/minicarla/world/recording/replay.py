"""Replaying a recording."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from minicarla.bodies import Bodies
from minicarla.geometry import Pose, compose, wrap_degrees
from minicarla.wire.structs import ActorAttributeValue, ActorDescription
from minicarla.world.actors import Actor
from minicarla.world.recording.file import Recording, Tick
from minicarla.world.spawner import Spawner


@dataclass
class ReplayOptions:
    """What clients set for all replays to come."""

    time_factor: float = 1.0
    """Recorded seconds that pass in a simulated second."""
    ignore_hero: bool = False
    """Whether actors with the role name ``hero`` are left where they are."""
    ignore_spectator: bool = True
    """Whether the spectator is left where it is."""


class Replayer:
    """Plays a recording into an episode: its actors come, move and go as they did.

    start: seconds from the beginning, or from the end when negative.  duration: seconds, 0 for
    all.  follow: id in the recording of the actor that the spectator follows at ``offset``.
    with_sensors: also spawn the recorded sensors.
    """

    def __init__(
        self,
        spawner: Spawner,
        recording: Recording,
        options: ReplayOptions,
        *,
        start: float,
        duration: float,
        follow: int,
        with_sensors: bool,
        offset: Pose,
    ) -> None:
        self.recording = recording
        first, last = recording.times[0], recording.times[-1]
        begin = first + start if start >= 0 else last + start
        self.time = min(max(begin, first), last)
        self.end = min(self.time + duration, last) if duration > 0 else last
        self.begin = self.time
        self._spawner, self._actors, self._options = spawner, spawner.actors, options
        self._follow, self._offset, self._with_sensors = follow, offset, with_sensors
        self._next = 0
        """Index of the tick whose spawned and destroyed actors are still to be played."""
        self._ids: dict[int, int] = {}
        """The ids that recorded actors have now."""
        self._created: list[int] = []
        self._play()

    @property
    def finished(self) -> bool:
        """Whether the end has been reached."""
        return self.time >= self.end

    def advance(self, dt: float) -> None:
        """Go on by ``dt`` simulated seconds."""
        self.time = min(self.time + dt * self._options.time_factor, self.end)
        self._play()

    def _play(self) -> None:
        ticks, actors = self.recording.ticks, self._actors
        here = bisect_right(self.recording.times, self.time + 1e-9) - 1
        while self._next <= here:
            self._come_and_go(ticks[self._next])
            self._next += 1
        now, after = ticks[here], ticks[min(here + 1, len(ticks) - 1)]
        gap = after.elapsed - now.elapsed
        share = (self.time - now.elapsed) / gap if gap > 0 else 0.0
        later = {int(row["id"]): row for row in after.moving} if share > 1e-9 else {}
        for row in now.moving:
            actor = actors.get(self._ids.get(int(row["id"]), 0))
            if actor is not None and actor.embodied and not (self._options.ignore_hero and _is_hero(actor)):
                _move(actors.bodies, actor, row, later.get(int(row["id"])), share)
        leader = actors.get(self._ids.get(self._follow, 0))
        if leader is not None:
            actors.spectator.pose = compose(actors.pose(leader), self._offset)
        elif not self._options.ignore_spectator:
            actors.spectator.pose = now.spectator

    def _come_and_go(self, tick: Tick) -> None:
        for actor_id in tick.destroyed:
            self._spawner.destroy(self._ids.pop(actor_id, 0))
        for actor in tick.spawned:
            there = self._actors.get(actor.id)
            if there is not None and there.type_id == actor.blueprint:
                self._ids[actor.id] = actor.id  # it is still in the world
            elif actor.blueprint.startswith(("vehicle.", "walker.", "static.")) or (
                self._with_sensors and actor.blueprint.startswith("sensor.")
            ):
                attributes = [ActorAttributeValue(key, 4, value) for key, value in actor.attributes]
                new = self._spawner.spawn(
                    ActorDescription(0, actor.blueprint, attributes),
                    actor.pose if actor.offset is None else actor.offset,
                    0 if actor.offset is None else self._ids.get(actor.parent, 0),
                    require_room=False,
                )
                self._ids[actor.id] = new.id
                self._created.append(new.id)

    def stop(self, keep_actors: bool) -> None:
        """End the replay: give the actors back to the physics, or remove those that it created."""
        bodies = self._actors.bodies
        for actor_id in self._ids.values():
            actor = self._actors.get(actor_id)
            if actor is not None and actor.embodied:
                row = bodies.row(actor_id)
                bodies.simulate_physics[row] = True
                bodies.velocity[row] = 0.0
                bodies.throttle[row] = 0.0
        if not keep_actors:
            for actor_id in reversed(self._created):
                self._spawner.destroy(actor_id)

    def summary(self) -> str:
        """What ``Client.replay_file`` returns."""
        return (
            f"Replaying File: {self.recording.path}\n\n"
            f"Total time recorded: {self.recording.duration:g}\n"
            f"Replaying from {self.begin:g} s - {self.end:g} s ({self.end - self.begin:g} s)"
        )


def _is_hero(actor: Actor) -> bool:
    return actor.attributes.get("role_name") == "hero"


def _move(bodies: Bodies, actor: Actor, row: np.void, later: np.void | None, share: float) -> None:
    """Put a body where ``row`` has it, or a ``share`` of the way to where it is ``later``."""
    position, rotation = row["position"].astype(float), row["rotation"].astype(float)
    if later is not None:
        position += share * (later["position"] - position)
        rotation += share * np.array([wrap_degrees(float(turn)) for turn in later["rotation"] - rotation])
    if not (math.isfinite(position.sum()) and math.isfinite(rotation.sum())):
        return
    index = bodies.row(actor.id)
    bodies.simulate_physics[index] = False
    bodies.position[index] = position
    bodies.rotation[index] = rotation
    bodies.velocity[index] = np.nan_to_num(row["velocity"])
    bodies.throttle[index], bodies.steer[index], bodies.brake[index] = np.nan_to_num(row["control"]).tolist()
    bodies.lamps[index] = row["lights"]
