"""Where bodies are and what acts on them: poses, velocities, impulses, and the switches of their physics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicarla.bodies import PROP, VEHICLE
from minicarla.geometry import Pose
from minicarla.physics import models
from minicarla.wire import structs
from minicarla.world.sane import FASTEST, clipped, sane_pose
from minicarla.world.table import ActorTable


class Mechanics:
    """What clients may do to any actor's position and motion.

    Every method raises CarlaError when there is no actor of that id.  Calls that need a body do
    nothing for actors without one, as in CARLA.
    """

    def __init__(self, actors: ActorTable) -> None:
        self._actors = actors
        self._bodies = actors.bodies

    def set_pose(self, actor_id: int, pose: Pose) -> None:
        """Put an actor there.  An attached actor keeps the new pose relative to its parent."""
        pose = sane_pose(pose)
        actor = self._actors.find(actor_id)
        if actor.embodied:
            row = self._bodies.row(actor_id)
            self._bodies.position[row] = pose[:3]
            self._bodies.rotation[row] = pose[3:]
        elif actor.parent is not None:
            actor.offset = pose
            actor.follow(self._actors.pose(actor.parent), 0.0)
        else:
            actor.pose = pose

    def set_location(self, actor_id: int, location: structs.Vector3D) -> None:
        """Move an actor and keep its rotation."""
        actor = self._actors.find(actor_id)
        rotation = actor.offset[3:] if actor.parent is not None else self._actors.pose(actor)[3:]
        self.set_pose(actor_id, Pose(*location, *rotation))

    def set_velocity(self, actor_id: int, velocity: Sequence[float]) -> None:
        """Give a body a velocity (world frame, m/s); one that is not finite is ignored."""
        row, sane = self._actors.body_row(actor_id), clipped(velocity, FASTEST)
        if row is not None and sane is not None:
            self._bodies.velocity[row] = sane

    def set_angular_velocity(self, actor_id: int, velocity: Sequence[float]) -> None:
        """Give a body an angular velocity (deg/s); one that is not finite is ignored."""
        row, sane = self._actors.body_row(actor_id), clipped(velocity, FASTEST)
        if row is not None and sane is not None:
            self._bodies.angular_velocity[row] = sane

    def push(self, actor_id: int, impulse: Sequence[float]) -> None:
        """Add an impulse (N*s, world frame) at the centre of mass."""
        row = self._actors.body_row(actor_id)
        if row is not None:
            change = np.asarray(impulse) / self._bodies.mass[row]
            self.set_velocity(actor_id, self._bodies.velocity[row] + change)

    def twist(self, actor_id: int, impulse: Sequence[float]) -> None:
        """Add an angular impulse (kg m^2 deg/s); only its vertical part has an effect."""
        row = self._actors.body_row(actor_id)
        if row is not None:
            if self._bodies.kind[row] == VEHICLE:
                gyration = models.gyration(int(self._bodies.model[row]))
            else:
                half_length, half_width, _ = self._bodies.extent[row].tolist()
                gyration = (half_length**2 + half_width**2) / 3.0
            change = np.array([0.0, 0.0, impulse[2] / (float(self._bodies.mass[row]) * gyration)])
            self.set_angular_velocity(actor_id, self._bodies.angular_velocity[row] + change)

    def set_simulate_physics(self, actor_id: int, enabled: bool) -> None:
        """Whether the dynamics move this body; they never move a prop."""
        if self._actors.was_destroyed(actor_id):
            return  # a Traffic Manager may not know yet, and an error would abort its process
        row = self._actors.body_row(actor_id)
        if row is not None and self._bodies.kind[row] != PROP:
            self._bodies.simulate_physics[row] = enabled

    def set_gravity(self, actor_id: int, enabled: bool) -> None:
        """Whether gravity acts on a body.  Without it a body keeps its height and its tyres have no grip."""
        row = self._actors.body_row(actor_id)
        if row is not None:
            self._bodies.weightless[row] = not enabled

    def set_collisions(self, actor_id: int, enabled: bool) -> None:
        """Whether a body collides with others."""
        row = self._actors.body_row(actor_id)
        if row is not None:
            self._bodies.intangible[row] = not enabled
