"""Replaying a recording."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from minicarla.geometry import Pose, compose, wrap_degrees
from minicarla.wire.structs import (
    ActorAttributeValue,
    ActorDescription,
    Vector3D,
    VehicleControl,
    WalkerControl,
)
from minicarla.world.actors import Actor, Vehicle, Walker
from minicarla.world.episode import WorldEpisode
from minicarla.world.outlet import CarlaError
from minicarla.world.recording.file import Recording, Spawned, Tick

log = logging.getLogger("minicarla")

_NO_ACTOR = -1
"""An id that no actor has."""


@dataclass
class ReplayOptions:
    """What clients set for all replays to come."""

    time_factor: float = 1.0
    """Recorded seconds that pass in a simulated second."""
    ignore_hero: bool = False
    """Whether actors with the role name ``hero`` are left alone."""
    ignore_spectator: bool = True
    """Whether the spectator is left where it is."""


class Replayer:
    """Plays a recording into an episode: its actors come, move and go, and its lights switch, as they did.

    The episode is on the recording's map.

    start: seconds from the beginning, or from the end when negative.  duration: seconds, 0 for
    all.  follow: id in the recording of the actor that the spectator follows at ``offset``.
    with_sensors: also spawn the recorded sensors.
    """

    def __init__(
        self,
        episode: WorldEpisode,
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
        self._episode, self._options = episode, options
        self._spawner, self._actors = episode.spawner, episode.actors
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
            self._next += 1
            self._come_and_go(ticks[self._next - 1])
        now, after = ticks[here], ticks[min(here + 1, len(ticks) - 1)]
        gap = after.elapsed - now.elapsed
        share = (self.time - now.elapsed) / gap if gap > 0 else 0.0
        later = {int(row["id"]): row for row in after.moving} if share > 1e-9 else {}
        for row in now.moving:
            actor = actors.get(self._ids.get(int(row["id"]), _NO_ACTOR))
            if actor is not None and actor.embodied and not self._left_alone(actor):
                self._move(actor, row, later.get(int(row["id"])), share)
        # The map is the recording's, so its lights are the recorded ones, in the same order.  Their ids
        # differ from one episode to the next.
        for number, row in enumerate(now.lights[: len(self._episode.lights.lights)]):
            state, frozen, elapsed = int(row["state"]), bool(row["frozen"]), float(row["elapsed"])
            self._episode.lights.recall(number, state, frozen, elapsed)
        leader = actors.get(self._ids.get(self._follow, _NO_ACTOR))
        if leader is not None:
            actors.spectator.pose = compose(actors.pose(leader), self._offset)
        elif not self._options.ignore_spectator:
            actors.spectator.pose = now.spectator

    def _left_alone(self, who: Actor | Spawned) -> bool:
        """Whether an actor has no part in the replay."""
        return self._options.ignore_hero and dict(who.attributes).get("role_name") == "hero"

    def _come_and_go(self, tick: Tick) -> None:
        for recorded_id in tick.destroyed:
            actor = self._actors.get(self._ids.pop(recorded_id, _NO_ACTOR))
            if actor is not None and not self._left_alone(actor):
                self._spawner.destroy(actor.id)
        for recorded in tick.spawned:
            there = self._actors.get(recorded.id)
            if there is not None and there.type_id == recorded.blueprint:
                self._ids[recorded.id] = recorded.id  # it is still in the world
            elif self._is_played(recorded):
                try:
                    actor = self._spawn(recorded)
                except CarlaError as error:  # the recording goes on without it, as in CARLA
                    log.warning("%s of the replay could not be created: %s", recorded.blueprint, error)
                    continue
                self._ids[recorded.id] = actor.id
                self._created.append(actor.id)

    def _is_played(self, recorded: Spawned) -> bool:
        if self._left_alone(recorded):
            return False
        kinds = ("vehicle.", "walker.", "static.", *(("sensor.",) if self._with_sensors else ()))
        return recorded.blueprint.startswith(kinds)

    def _spawn(self, recorded: Spawned) -> Actor:
        """CarlaError when that is not possible, for instance because the parent is not there."""
        attributes = [ActorAttributeValue(key, 4, value) for key, value in recorded.attributes]
        attached = recorded.offset is not None
        return self._spawner.spawn(
            ActorDescription(0, recorded.blueprint, attributes),
            recorded.pose if recorded.offset is None else recorded.offset,
            self._ids.get(recorded.parent, _NO_ACTOR) if attached else 0,
            require_room=False,
        )

    def _move(self, actor: Actor, row: np.void, later: np.void | None, share: float) -> None:
        """Put a body where ``row`` has it, or a ``share`` of the way to where it is ``later``."""
        position, rotation = row["position"].astype(float), row["rotation"].astype(float)
        if later is not None:
            position += share * (later["position"] - position)
            rotation += share * np.array([wrap_degrees(float(turn)) for turn in later["rotation"] - rotation])
        if not (math.isfinite(position.sum()) and math.isfinite(rotation.sum())):
            return
        bodies = self._actors.bodies
        index = bodies.row(actor.id)
        bodies.simulate_physics[index] = False
        bodies.position[index] = position
        bodies.rotation[index] = rotation
        bodies.velocity[index] = np.nan_to_num(row["velocity"])
        bodies.angular_velocity[index] = np.nan_to_num(row["angular_velocity"])
        if isinstance(actor, Vehicle):
            gear = int(row["gear"])  # CARLA, too, records no reverse, and takes it from the gear
            throttle, steer, brake = row["control"].tolist()
            control = VehicleControl(throttle, steer, brake, bool(row["hand_brake"]), reverse=gear < 0)
            self._episode.vehicles.apply(actor.id, control)
            bodies.gear[index] = gear
            bodies.lamps[index] = row["lights"]
        elif isinstance(actor, Walker):
            self._set_pace(actor, float(row["walk_speed"]))

    def _set_pace(self, walker: Walker, speed: float) -> None:
        """Set a walker's speed (m/s); a recording does not say where it was told to go."""
        bodies = self._actors.bodies
        direction = Vector3D(*bodies.walk_direction[bodies.row(walker.id)].tolist())
        self._episode.walkers.apply(walker.id, WalkerControl(direction, speed, False))

    def stop(self, keep_actors: bool) -> None:
        """End the replay: let what it moved stand still without controls, or remove what it created."""
        bodies = self._actors.bodies
        for actor_id in self._ids.values():
            actor = self._actors.get(actor_id)
            if actor is None or self._left_alone(actor):
                continue
            if isinstance(actor, Vehicle):
                self._episode.vehicles.apply(actor_id, VehicleControl())
            elif isinstance(actor, Walker):
                self._set_pace(actor, 0.0)
            else:
                continue  # the physics move nothing else
            row = bodies.row(actor_id)
            bodies.simulate_physics[row] = True
            bodies.velocity[row] = bodies.angular_velocity[row] = 0.0
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
