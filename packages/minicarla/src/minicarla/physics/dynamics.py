"""How bodies move: vehicles on tyres, walkers on foot, and what happens when they touch.

A vehicle is a single-track model whose tyres pull it towards the motion that its
front wheels ask for, as fast as friction lets them:

* along: throttle gives the smaller of the model's thrust and power over speed;
  air drag, rolling resistance, engine drag, brakes and hand brake oppose the motion
  and bring it to exact rest;
* across: at low speed the car follows its wheels without slip (rear axle tangential to
  its path); with speed it understeers (yaw rate over wheel angle falls as
  1 / (1 + (v / v_ch)^2)), its rear axle slips outward, and yaw rate and sideslip
  settle with a time constant of v / (cornering stiffness over mass);
* together: the tyres' acceleration stays within grip times g (friction circle), the yaw
  rate asked for within what that grip can hold in a bend, the yaw acceleration within the
  moment that grip has on the wheelbase.

Rajamani, Vehicle Dynamics and Control (2012), chapters 2 and 4, has the linear model that
this follows below the limit.  Every settling is an exact exponential, so no step size
makes it unstable.

Steering follows CARLA: ``steer`` times 70 degrees times CARLA's steering curve is the
angle of the inner front wheel, the outer one follows Ackermann.  In one thing the
published figures win: the wheels turn no further than the lock that gives the vehicle's
published turning circle, where CARLA's inner wheel reaches 70 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.maps import RoadMap, StaticBox
from minicarla.physics import kernels
from minicarla.physics.contacts import BodyContact, Solids, Solver
from minicarla.physics.ground import Ground

Floats = NDArray[np.float64]

STEP = 0.05
"""Seconds: no substep of the dynamics is longer."""
TRAVEL = 1.0
"""Metres that anything may move between two searches for contacts; nothing passes through anything."""
JUST_MET = 1.5  # substeps: two that began to overlap within them are taken to have met in the last one


class Physics:
    """Moves bodies by their controls and lets them collide.

    roadmap: its solid boxes are hit, and its lanes give the height of the ground.
    """

    def __init__(self, roadmap: RoadMap) -> None:
        self._ground = Ground(roadmap)
        self.take(roadmap.statics)

    def take(self, statics: Sequence[StaticBox]) -> None:
        """From now on these are the boxes of the map."""
        self._solids = Solids(statics)
        self._motion = kernels.Motion(Bodies(), self._solids)

    def step(self, bodies: Bodies, dt: float) -> list[BodyContact]:
        """Advance by ``dt`` seconds.

        Reads controls, velocities and poses; writes position, rotation, velocity,
        angular_velocity (deg/s), acceleration, wheel_angle (degrees, of the inner front wheel)
        and, unless ``manual_gear``, gear.  Bodies with ``simulate_physics`` off stay where they
        are and are hit like walls, except walkers, which are pushed away.

        Returns: who touched whom; one :class:`BodyContact` for each pair, with the impulse of the whole tick.
        """
        if not len(bodies) or dt <= 0.0:
            return []
        if not self._motion.holds(bodies):
            self._motion = kernels.Motion(bodies, self._solids)
        motion = self._motion
        motion.begin()
        self._control(bodies, dt)
        motion.stand(*self._under())
        steps = math.ceil(dt / STEP - 1e-9)
        near = motion.find_near(dt)
        if near:
            steps = max(steps, math.ceil(float(motion.speed.max()) * dt / TRAVEL))
        touched: dict[tuple[int, int], list[float]] = {}
        for _ in range(steps):
            motion.advance(dt / steps)
            if near:
                self._collide(bodies, dt / steps, touched)
        if not self._ground.flat or motion.restless():
            motion.settle(self._under()[0], dt)
        motion.write(dt, *self._under()[1:])
        return self._report(bodies, touched) if touched else []

    def _control(self, bodies: Bodies, dt: float) -> None:
        """Pedals, gears and steering.  Vehicles whose physics control was changed are treated one by one."""
        motion = self._motion
        tuned = {bodies.row(actor_id): handling for actor_id, handling in bodies.handling.items()}
        motion.control(set(tuned), dt)
        for row, handling in tuned.items():
            if motion.driven[row]:
                speed = float(motion.speed[row])
                by_hand = int(bodies.gear[row]) if bodies.manual_gear[row] else None
                shift = handling.shift(speed, motion.direction(row), by_hand, dt)
                share = handling.steering(speed)
                motion.control_tuned(row, handling.column, share, shift.gear, shift.top, shift.share, dt)

    def _under(self) -> tuple[Floats, ...]:
        """Height at which each body stands and, on maps that are not flat, the slope (dz/dx, dz/dy)."""
        motion = self._motion
        if self._ground.flat:
            return (motion.lift,)
        height, east, south = self._ground.under(motion.x, motion.y, motion.z - motion.lift)
        return motion.lift + height, east, south

    def _collide(self, bodies: Bodies, h: float, touched: dict[tuple[int, int], list[float]]) -> None:
        """Find what overlaps after a substep, exchange impulses, push apart.

        ``touched`` maps (row, other row) or (row, -1 - static) to impulse x, y and point x, y, z.
        """
        pairs = self._motion.overlapping()
        if pairs:
            solver = Solver(bodies, self._solids, self._motion)
            hits = [solver.hit(a, b, JUST_MET * h) for a, b in pairs]
            solver.resolve([hit for hit in hits if hit is not None], touched)

    def _report(self, bodies: Bodies, touched: dict[tuple[int, int], list[float]]) -> list[BodyContact]:
        ids, contacts = bodies.id, []
        for (a, b), (jx, jy, px, py, pz) in sorted(touched.items()):
            other, static = (int(ids[b]), -1) if b >= 0 else (-1, self._solids.index[-1 - b])
            contacts.append(BodyContact(int(ids[a]), other, static, (jx, jy, 0.0), (px, py, pz)))
        return contacts
