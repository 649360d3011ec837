"""How walkers move: by a client's control, by a client's crowd, or by the server itself."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import RoadMap, navmesh
from minicarla.sensors.cache import per_map
from minicarla.traffic.walkers import Pedestrians
from minicarla.wire import structs
from minicarla.world.actors import Actor, Walker
from minicarla.world.sane import bounded, finite, sane_pose
from minicarla.world.table import ActorTable

_LED_TICKS = 2
"""Ticks after which a walker that its client no longer moves has no velocity."""

navigation_of = per_map(navmesh.build)
"""Where pedestrians can walk on a map, computed when first asked for; None where they cannot."""


class WalkerControls:
    """The controls of all walkers of an episode.

    seed: of the pedestrians that the server itself moves.

    ``pedestrians`` are these, None before the first one.  Methods that take an actor id raise
    CarlaError when it is not a walker's.
    """

    def __init__(self, actors: ActorTable, roadmap: RoadMap, seed: int) -> None:
        self.pedestrians: Pedestrians | None = None
        self._actors = actors
        self._bodies = actors.bodies
        self._roadmap, self._seed = roadmap, seed
        self._ticks = 0
        self._led: dict[int, tuple[int, NDArray[np.float64]]] = {}
        """Walkers that a client moves from place to place: tick of the last move, and their velocity."""

    # ------------------------------------------------------------------ each tick

    def report_velocities(self) -> None:
        """Write the velocity of the walkers whose physics are off and which a client moves."""
        bodies = self._bodies
        for actor_id, (moved, velocity) in list(self._led.items()):
            row = bodies.row(actor_id)
            if bodies.simulate_physics[row] or moved < self._ticks - _LED_TICKS:
                del self._led[actor_id]
            else:
                bodies.velocity[row] = velocity
        self._ticks += 1

    def decide(self, bodies: Bodies, dt: float) -> None:
        """Let the server's own pedestrians decide what they do in the next ``dt`` seconds."""
        if self.pedestrians is not None:
            self.pedestrians.decide(bodies, dt)

    def forget(self, actor: Actor) -> None:
        """The actor is being destroyed."""
        self._led.pop(actor.id, None)
        if self.pedestrians is not None:
            self.pedestrians.remove(actor.id)

    # ------------------------------------------------------------------ what clients order

    def stroll(self, actor_id: int) -> None:
        """Let the server move this walker; nothing happens on a map where nobody can walk."""
        if self.pedestrians is None:
            mesh = navigation_of(self._roadmap)
            if mesh is None:
                return
            self.pedestrians = Pedestrians(mesh, self._seed)
        self.pedestrians.add(actor_id)

    def apply(self, actor_id: int, control: structs.WalkerControl) -> None:
        """Set where a walker goes.  The direction is normalised; a speed of NaN counts as 0."""
        if self._actors.find_walker(actor_id).dead:
            return
        row = self._bodies.row(actor_id)
        direction = np.array(control.direction)
        length = float(np.hypot(direction[0], direction[1]))
        valid = finite(*control.direction) and length > 1e-9
        self._bodies.walk_direction[row] = direction / length if valid else 0.0
        self._bodies.walk_speed[row] = bounded(control.speed, 0.0, 50.0)
        self._bodies.jump[row] = control.jump

    def lead(self, actor_id: int, pose: Pose, speed: float) -> None:
        """Put a walker there, walking on at ``speed`` (m/s) in the direction in which it looks.

        ``pose`` is on the ground, as in the client's crowd.  A walker's own pose is half its height
        above.
        """
        pose = sane_pose(pose)
        if self._actors.find_walker(actor_id).dead:
            return
        row = self._bodies.row(actor_id)
        yaw = math.radians(pose.yaw)
        direction = structs.Vector3D(math.cos(yaw), math.sin(yaw), 0.0)
        self.apply(actor_id, structs.WalkerControl(direction, speed, False))
        self._bodies.position[row] = pose.x, pose.y, pose.z + float(self._bodies.extent[row, 2])
        self._bodies.rotation[row] = pose[3:]
        self._led[actor_id] = self._ticks, self._bodies.walk_speed[row] * np.array(direction)

    def kill(self, actor_id: int) -> None:
        """Stop a walker for good; from now on what hits it pushes it around.  No effect on other actors."""
        actor = self._actors.find(actor_id)
        if isinstance(actor, Walker):
            actor.dead = True
            row = self._bodies.row(actor_id)
            self._bodies.walk_speed[row] = 0.0
            self._bodies.simulate_physics[row] = True
            self._led.pop(actor_id, None)
