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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.physics import models
from minicarla.physics.contacts import Contact, Solids, Solver, near_pairs, penetration
from minicarla.physics.ground import Ground
from minicarla.physics.models import GRAVITY, STEERING_CURVE
from minicarla.world.bodies import VEHICLE, Bodies

Floats = NDArray[np.float64]

STEP = 0.05
"""Seconds: no substep of the dynamics is longer."""
TRAVEL = 1.0
"""Metres: nothing moves further between two looks for contacts, so that nothing passes through anything."""
JUST_MET = 1.5  # substeps within which two that overlap are taken to have met in the last one
MAX_SPEED = 120.0  # m/s; what a client asks beyond is clipped
MAX_TURN = 20.0  # rad/s
ROLLING = 0.12  # m/s^2
CHARACTERISTIC_SPEED = 28.0  # m/s, v_ch of the understeer
STEER_RATE = math.radians(400.0)  # of the front wheels, per second
JUMP = 4.2  # m/s, Unreal's JumpZVelocity of CARLA's walkers


class Physics:
    """Moves bodies by their controls and lets them collide.

    roadmap: ``statics`` (boxes; solid ones are hit); where it offers ``locate_many`` and is
        not ``flat``, its lanes give the height of the ground, which is 0 otherwise.
    """

    def __init__(self, roadmap: Any) -> None:
        self._solids = Solids(roadmap.statics)
        self._ground = Ground(roadmap)

    def step(self, bodies: Bodies, dt: float) -> list[Contact]:
        """Advance by ``dt`` seconds.

        Reads controls, velocities and poses; writes position, rotation, velocity,
        angular_velocity (deg/s), acceleration, wheel_angle (degrees, of the inner front wheel)
        and, unless ``manual_gear``, gear.  Bodies with ``simulate_physics`` off stay where they
        are and are hit like walls, except walkers, which are pushed away.

        Returns: who touched whom, one :class:`Contact` a pair with the impulse of the whole tick.
        """
        if not len(bodies) or dt <= 0.0:
            return []
        return _Tick(self, bodies, dt).run()


class _Tick:
    """The state of all bodies while a tick is worked out.

    The plane is the complex one, x + iy: a turn is a product, a distance an absolute value.
    Most of the time of a tick with few bodies is the overhead of numpy's calls, so there are
    as few as can be.
    """

    def __init__(self, physics: Physics, bodies: Bodies, dt: float) -> None:
        self.bodies, self.dt = bodies, dt
        self.solids, self.ground = physics._solids, physics._ground
        n = len(bodies)
        self.moves = moves = bodies.simulate_physics
        driven = (bodies.kind == VEHICLE) & moves
        count = np.count_nonzero(driven)
        self.all_move = bool(count == n or np.count_nonzero(moves) == n)
        # A view of every row where all are driven, as is usual; indices otherwise.
        self.rows: Any = slice(None) if count == n else np.flatnonzero(driven)
        self.has_driven = count > 0
        self.walkers = np.flatnonzero(moves & ~driven) if count < n else np.zeros(0, np.int64)
        self.place = bodies.position[:, 0] + 1j * bodies.position[:, 1]
        self.z = bodies.position[:, 2].copy()
        self.yaw = np.radians(bodies.rotation[:, 1])
        self.velocity = bodies.velocity[:, 0] + 1j * bodies.velocity[:, 1]
        self.rise = bodies.velocity[:, 2].copy()
        self.turn = np.radians(bodies.angular_velocity[:, 2])
        self._curb()
        self.speed = np.abs(self.velocity)
        self.before = self.velocity.copy(), self.rise.copy()
        # Views of the parts, for what works on single bodies.
        self.x, self.y = self.place.real, self.place.imag
        self.vx, self.vy = self.velocity.real, self.velocity.imag
        self.airborne: NDArray[np.bool_] | None = None
        if self.has_driven:
            self._controls(models.parameters(bodies, self.rows))

    # ------------------------------------------------------------------ before

    def _curb(self) -> None:
        """Clip velocities that no vehicle has; what does not move has none."""
        size = np.abs(self.velocity) + np.abs(self.rise)
        if np.count_nonzero(size > MAX_SPEED):
            share = MAX_SPEED / np.maximum(size, MAX_SPEED)
            self.velocity, self.rise = self.velocity * share, self.rise * share
        if np.count_nonzero(np.abs(self.turn) > MAX_TURN):
            self.turn = np.clip(self.turn, -MAX_TURN, MAX_TURN)
        if not self.all_move:
            self.velocity, self.rise = self.velocity * self.moves, self.rise * self.moves
            self.turn = self.turn * self.moves

    def _controls(self, parameters: Floats) -> None:
        """What does not change during the tick: pedals, gears, the path that the wheels ask for."""
        bodies, rows = self.bodies, self.rows
        mass, power, thrust, top, reverse_top, wheelbase, half_track = parameters[:7]
        lock, grip, drag, rear, gyration, gears, steer_range, brake, parking, coasting, cornering = (
            parameters[7:]
        )
        road = bodies.road_grip[rows]
        if np.count_nonzero(road >= 0.0):
            own = models.table()[models.GRIP, bodies.model[rows]]
            grip = np.where(road >= 0.0, own * road, grip)
        throttle = bodies.throttle[rows]
        direction = 1.0 - 2.0 * bodies.reverse[rows]
        manual = bodies.manual_gear[rows]
        by_hand = np.count_nonzero(manual) > 0
        gear = bodies.gear[rows]
        if by_hand:  # gear 0 is neutral, a negative one goes backwards
            direction = np.where(manual, np.minimum(np.sign(gear) * direction, np.sign(gear)), direction)
        per_kg = 1.0 / np.maximum(bodies.mass[rows], 1.0)
        forward = direction > 0.0
        self.direction = direction
        self.power = throttle * power * per_kg
        self.thrust = np.minimum(throttle * (thrust * mass) * per_kg, 10.0 * GRAVITY)
        self.top = np.where(forward, top, reverse_top)
        self.drag = np.minimum(drag * per_kg, 0.01)
        self.grip, self.rear = grip, rear
        self.spin = grip * wheelbase / (2.0 * gyration)  # rad/s^2
        self.holding = np.minimum(bodies.brake[rows] * brake + bodies.hand_brake[rows] * parking, grip)
        self.coasting = (coasting - coasting * throttle) * np.abs(direction)
        self.cornering, self.compliance = cornering, 1.0 / cornering
        speed = self.speed[rows]
        share = np.interp(speed * 3.6, *STEERING_CURVE)
        # The last gear is an overdrive.
        shifted = np.minimum(np.maximum(np.ceil(speed * (1.25 * gears / top)), 1.0), gears)
        shifted = np.where(forward, shifted, -1.0)
        if bodies.handling:
            for k, handling in models.tuned(bodies, rows):
                share[k] = handling.steering(speed[k])
                gear_by_hand = int(gear[k]) if manual[k] else None
                shift = handling.shift(float(speed[k]), direction[k], gear_by_hand, self.dt)
                shifted[k], self.top[k] = shift.gear, shift.top
                self.thrust[k] *= shift.share
                self.power[k] *= shift.share
        wanted = (bodies.steer[rows] * steer_range) * share
        wanted = np.minimum(np.maximum(wanted, -lock), lock)
        angle = np.radians(bodies.wheel_angle[rows])
        reach = STEER_RATE * self.dt
        angle = np.minimum(np.maximum(wanted, angle - reach), angle + reach)
        bodies.wheel_angle[rows] = np.degrees(angle)
        tan = np.tan(angle)
        self.curvature = tan / (wheelbase + half_track * np.abs(tan))
        bodies.gear[rows] = np.where(manual, gear, shifted) if by_hand else shifted

    # ------------------------------------------------------------------ the tick

    def run(self) -> list[Contact]:
        dt = self.dt
        if len(self.walkers):
            self._walk()
        near = self._near(dt)
        steps = math.ceil(dt / STEP - 1e-9)
        if near is not None:
            steps = max(steps, math.ceil(float(self.speed.max()) * dt / TRAVEL))
        h = dt / steps
        if not self.ground.flat:
            self._feel_ground()
        above = self.z > self._floor() + 1e-3
        if np.count_nonzero(self.bodies.weightless):
            above |= self.bodies.weightless
        self.airborne = above if np.count_nonzero(above) else None
        touched: dict[tuple[int, int], list[float]] = {}
        for _ in range(steps):
            if self.has_driven:
                self._drive(h)
            if len(self.walkers):
                self.place[self.walkers] += self.velocity[self.walkers] * h
            if near is not None:
                self._collide(near, touched, h)
        self._write()
        return self._report(touched) if touched else []

    def _walk(self) -> None:
        rows, bodies = self.walkers, self.bodies
        direction = bodies.walk_direction[rows, 0] + 1j * bodies.walk_direction[rows, 1]
        velocity = direction * bodies.walk_speed[rows]
        self.velocity[rows] = velocity
        self.speed[rows] = np.abs(velocity)
        self.yaw[rows] = np.where(self.speed[rows] > 1e-6, np.angle(direction), self.yaw[rows])
        self.turn[rows] = 0.0
        standing = self.z[rows] <= self._floor()[rows] + 1e-3
        self.rise[rows] = np.where(standing, JUMP * bodies.jump[rows], self.rise[rows])

    def _floor(self) -> Floats:
        """Height of a body's origin when it stands: a walker's is in the middle of its box."""
        bodies = self.bodies
        lift = (bodies.extent[:, 2] - bodies.centre[:, 2]) * (bodies.kind != VEHICLE)
        return lift if self.ground.flat else lift + self._feel(lift)[0]

    def _feel(self, lift: Floats) -> tuple[Floats, Floats, Floats]:
        return self.ground.under(self.x, self.y, self.z - lift)

    def _feel_ground(self) -> None:
        """What gravity does along the vehicles on a slope."""
        _, east, south = self.ground.under(self.x, self.y, self.z)
        rows = self.rows
        self.uphill = GRAVITY * ((east - 1j * south)[rows] * np.exp(1j * self.yaw[rows])).real

    def _drive(self, h: float) -> None:
        """One substep of the vehicles: see the module's text for the model."""
        rows = self.rows
        yaw, turn = self.yaw[rows], self.turn[rows]
        heading = np.exp(1j * yaw)
        body = self.velocity[rows] * heading.conj()
        u, w = body.real, body.imag  # forward, to the right
        speed = np.abs(u)
        safe = np.maximum(speed, 1e-3)
        hold = self.grip * h
        spin = self.spin * h
        if self.airborne is not None:
            down = ~self.airborne[rows]
            hold, spin = hold * down, spin * down
        # Along.
        pull = np.minimum(self.thrust, self.power / safe)
        pull *= np.minimum(np.maximum(self.top - self.direction * u, 0.0), 1.0)
        square = u * speed
        free = u + (self.direction * pull - self.drag * square) * h
        if not self.ground.flat:
            free -= self.uphill * h
        resist = (self.holding + ROLLING + self.coasting * np.minimum(speed, 1.0)) * h
        resist = np.minimum(resist, hold)
        along = free - np.minimum(np.maximum(free, -resist), resist) - u
        # Across: the yaw rate and sideslip that the wheels ask for, and how far they get there.
        settle = -np.expm1((-h * self.cornering) / safe)
        limit = np.sqrt(np.maximum(hold * hold - 0.5 * along * along, 0.0)) / (safe * h)
        wanted = u * self.curvature / (1.0 + speed * speed * CHARACTERISTIC_SPEED**-2)
        wanted = np.minimum(np.maximum(wanted, -limit), limit)
        turn = turn + np.minimum(np.maximum(settle * (wanted - turn), -spin), spin)
        slip = wanted * (self.rear - square * self.compliance)
        bend = turn * h
        half = np.exp(0.5j * bend)
        middle = heading * half
        body_turned = body * (half * half).conj()  # what is kept without tyres, in the new heading
        push = along + 1j * (w + settle * (slip - w) - body_turned.imag)
        push /= np.maximum(np.abs(push) / np.maximum(hold, 1e-12), 1.0)
        new_body = body_turned + push
        # Mean velocity, heading half way.
        self.place[rows] += (0.5 * h) * (body + new_body) * middle
        self.velocity[rows] = new_body * (middle * half)
        self.yaw[rows] = yaw + bend
        self.turn[rows] = turn

    # ------------------------------------------------------------------ up and down

    def _settle(self) -> None:
        """Gravity, and the ground that stops it."""
        dt = self.dt
        floor = self._floor()
        # Wheels stay on a road that climbs or falls away; a jump, or a crest taken fast, lifts them.
        rising = self.rise > (floor - self.z) / dt + 1.5
        free = rising if self.airborne is None else rising | self.airborne
        gravity = GRAVITY * ~self.bodies.weightless
        z = np.where(free, self.z + self.rise * dt - 0.5 * gravity * dt * dt, floor)
        landed = free & (z <= floor)
        z = np.where(landed, floor, z)
        rise = np.where(free, self.rise - gravity * dt, (z - self.z) / dt)
        self.rise = np.where(landed, 0.0, rise) * self.moves
        self.z = np.where(self.moves, z, self.z)

    # ------------------------------------------------------------------ contacts

    def _near(self, dt: float) -> tuple[Any, Any, Any, Any] | None:
        """Pairs that may touch during this tick: (bodies i, j, bodies k, statics m), None without any."""
        bodies = self.bodies
        size = np.hypot(bodies.extent[:, 0], bodies.extent[:, 1])
        self.offset = np.count_nonzero(bodies.centre[:, :2]) > 0
        if self.offset:
            size = size + np.hypot(bodies.centre[:, 0], bodies.centre[:, 1])
        reach = size + (self.speed * dt + (12.0 * dt * dt + 0.1))
        i, j = near_pairs(self.x, self.y, reach)
        if len(i):
            # Walkers walk through each other; what does not move is not pushed by its like.
            vehicle = bodies.kind == VEHICLE
            keep = (self.moves[i] | self.moves[j]) & (vehicle[i] | vehicle[j])
            i, j = i[keep], j[keep]
        k, m = self.solids.near(self.x, self.y, reach)
        if len(k) and not self.all_move:
            keep = self.moves[k]
            k, m = k[keep], m[keep]
        if np.count_nonzero(bodies.intangible):
            keep = ~(bodies.intangible[i] | bodies.intangible[j])
            i, j = i[keep], j[keep]
            keep = ~bodies.intangible[k]
            k, m = k[keep], m[keep]
        if not len(i) and not len(k):
            return None
        return i, j, k, m

    def _middle(self) -> tuple[Floats, Floats]:
        """Centres of the boxes."""
        if not self.offset:
            return self.x, self.y
        centre = self.place + np.exp(1j * self.yaw) * (
            self.bodies.centre[:, 0] + 1j * self.bodies.centre[:, 1]
        )
        return centre.real, centre.imag

    def _collide(
        self, near: tuple[Any, Any, Any, Any], touched: dict[tuple[int, int], list[float]], h: float
    ) -> None:
        """Find what overlaps after a substep, exchange impulses, push apart.

        ``touched`` maps (row, other row) or (row, -1 - static) to impulse x, y and point x, y, z.
        """
        i, j, k, m = near
        bodies, solids = self.bodies, self.solids
        x, y = self._middle()
        pairs: list[tuple[int, int]] = []
        if len(i):
            depth, _, _ = penetration(
                x[j] - x[i], y[j] - y[i], self.yaw[i], self.yaw[j], bodies.extent[i], bodies.extent[j]
            )
            pairs += [(int(i[q]), int(j[q])) for q in np.flatnonzero(depth > 0.0)]
        if len(k):
            depth, _, _ = penetration(
                solids.centre[m, 0] - x[k],
                solids.centre[m, 1] - y[k],
                self.yaw[k],
                solids.yaw[m],
                bodies.extent[k],
                solids.extent[m],
            )
            pairs += [(int(k[q]), -1 - int(m[q])) for q in np.flatnonzero(depth > 0.0)]
        if pairs:
            solver = Solver(bodies, solids, self)
            hits = [solver.hit(a, b, JUST_MET * h) for a, b in pairs]
            solver.resolve([hit for hit in hits if hit is not None], touched)

    # ------------------------------------------------------------------ after

    def _write(self) -> None:
        bodies, per_second = self.bodies, 1.0 / self.dt
        if self.airborne is not None or not self.ground.flat or np.count_nonzero(self.rise):
            self._settle()
        position, rotation, velocity = bodies.position, bodies.rotation, bodies.velocity
        position[:, 0], position[:, 1], position[:, 2] = self.x, self.y, self.z
        yaw = (np.degrees(self.yaw) + 180.0) % 360.0 - 180.0
        if self.all_move:
            rotation[:, 1] = yaw
        else:
            rotation[:, 1] = np.where(self.moves, yaw, rotation[:, 1])
        self._lean()
        change = (self.velocity - self.before[0]) * per_second
        acceleration = bodies.acceleration
        acceleration[:, 0], acceleration[:, 1] = change.real, change.imag
        acceleration[:, 2] = (self.rise - self.before[1]) * per_second
        velocity[:, 0], velocity[:, 1], velocity[:, 2] = self.vx, self.vy, self.rise
        bodies.angular_velocity[:] = 0.0
        bodies.angular_velocity[:, 2] = np.degrees(self.turn)

    def _lean(self) -> None:
        """Pitch and roll: those of the ground for vehicles that stand on it, none for walkers."""
        bodies = self.bodies
        rows = slice(None) if self.all_move else np.flatnonzero(self.moves)
        if self.ground.flat:
            bodies.rotation[rows, ::2] = 0.0
            return
        _, east, south = self.ground.under(self.x, self.y, self.z)
        slope = ((east + 1j * south) * np.exp(-1j * self.yaw) * (bodies.kind == VEHICLE))[rows]
        bodies.rotation[rows, 0] = np.degrees(np.arctan(slope.real))
        bodies.rotation[rows, 2] = -np.degrees(np.arctan(slope.imag))

    def _report(self, touched: dict[tuple[int, int], list[float]]) -> list[Contact]:
        ids = self.bodies.id
        contacts = []
        for (a, b), (jx, jy, px, py, pz) in sorted(touched.items()):
            other, static = (int(ids[b]), -1) if b >= 0 else (-1, self.solids.index[-1 - b])
            contacts.append(Contact(int(ids[a]), other, static, (jx, jy, 0.0), (px, py, pz)))
        return contacts
