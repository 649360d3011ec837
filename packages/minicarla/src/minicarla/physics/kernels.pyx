# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The inner loops of the dynamics, compiled: controls, tyres, heights, and which bodies are near each other.

``dynamics`` explains the model.  Bounds are not checked: all that comes in was made by
``dynamics``, ``contacts`` and ``world.bodies``.
"""

import numpy as np

from libc.math cimport M_PI, atan, atan2, ceil, cos, expm1, fabs, floor, hypot, sin, sqrt, tan
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free

from minicarla.physics import models
from minicarla.plain cimport clip, greater, lesser, room
from minicarla import bodies as table

cdef enum:
    # Rows of models.table().
    MASS, POWER, THRUST, TOP, REVERSE_TOP, WHEELBASE, HALF_TRACK, LOCK, GRIP, DRAG, REAR, GYRATION, GEARS
    STEER_RANGE, BRAKE, PARKING, COASTING, CORNERING, FIGURES

cdef int VEHICLE = table.VEHICLE
cdef double GRAVITY = models.GRAVITY
cdef double DEGREE = M_PI / 180.0
cdef double ROLLING = models.ROLLING
cdef double CHARACTERISTIC_SPEED = models.CHARACTERISTIC_SPEED
cdef double STEER_RATE = 400.0 * DEGREE  # of the front wheels, per second
cdef double JUMP = 4.2  # m/s, Unreal's JumpZVelocity of CARLA's walkers
cdef double MAX_SPEED = 120.0  # m/s; faster velocities that a client sets are clipped
cdef double MAX_TURN = 20.0  # rad/s
cdef double STANDS = 1e-3  # metres above the ground up to which a body counts as standing on it
cdef double[:, ::1] STEERING = np.array(models.STEERING_CURVE)  # km/h, share of the range


cdef struct Mover:
    bint moves, driven, airborne
    double x, y, rise  # velocity at the beginning
    # Of vehicles only.  Accelerations, since nothing here depends on the mass any more.
    double direction  # of the gear: 1 forwards, -1 backwards, 0 neutral
    double power, thrust, top, drag, grip, rear, spin, holding, coasting, cornering
    double curvature  # 1/m: curvature of the path that the wheels ask for
    double uphill  # m/s^2 that gravity takes along the slope


cdef struct Pair:
    int64_t a, b  # rows; b is -1 - static for a box of the map


cdef class Grid:
    """A :class:`~minicarla.physics.contacts.Grid` as the loops read it."""

    cdef double x0, y0, scale, reach
    cdef Py_ssize_t across, down
    cdef const int64_t[::1] start, members

    def __init__(self, grid):
        self.x0, self.y0, self.scale, self.reach = grid.x0, grid.y0, 1.0 / grid.cell, grid.reach
        self.across, self.down = grid.across, grid.down
        self.start, self.members = grid.start, grid.members


cdef class Motion:
    """All bodies during a tick, in plain numbers: metres, radians, m/s, rad/s.

    It can be used as long as no body comes or goes.  A tick calls its methods from top to bottom.

    x, y, z, yaw, vx, vy, rise, turn: (n,) where they are and how they move; written to by whoever
    resolves collisions.  speed: (n,) at the beginning of the tick.  moves: (n,) whether physics move it.
    driven: (n,) whether it is a vehicle that does.  lift: (n,) height of the origin of a body that stands.
    """

    cdef readonly object x, y, z, yaw, vx, vy, rise, turn, speed, moves, lift, driven
    cdef double[::1] _x, _y, _z, _yaw, _vx, _vy, _rise, _turn, _speed, _lift
    cdef uint8_t[::1] _moves, _driven
    cdef object bodies
    cdef Py_ssize_t count
    cdef double[:, ::1] position, rotation, velocity, angular_velocity, acceleration
    cdef const double[:, ::1] extent, centre, walk_direction, figures
    cdef const double[::1] mass, throttle, steer, brake, walk_speed, road_grip
    cdef double[::1] wheel_angle
    cdef const uint8_t[::1] kind, simulate_physics, weightless, intangible
    cdef const uint8_t[::1] hand_brake, reverse, manual_gear, jump
    cdef const int32_t[::1] model
    cdef int32_t[::1] gear
    # Of the map.
    cdef list grids
    cdef const double[:, ::1] box_centre, box_extent
    cdef const double[::1] box_cos, box_sin
    cdef Mover* movers
    cdef Py_ssize_t* order  # of rows along x
    cdef double* reach
    cdef Pair* pairs
    cdef Py_ssize_t near, places

    def __init__(self, bodies, solids):
        """bodies: ``bodies.Bodies``.  solids: ``contacts.Solids``."""
        cdef Py_ssize_t k
        self.bodies, self.count = bodies, len(bodies)
        state = np.zeros((10, self.count))
        self.x, self.y, self.z, self.yaw, self.speed = state[:5]
        self.vx, self.vy, self.rise, self.turn, self.lift = state[5:]
        self._x, self._y, self._z, self._yaw, self._speed = state[:5]
        self._vx, self._vy, self._rise, self._turn, self._lift = state[5:]
        self.moves, self.driven = np.zeros((2, self.count), np.bool_)
        self._moves, self._driven = self.moves.view(np.uint8), self.driven.view(np.uint8)
        self.position, self.rotation, self.velocity = bodies.position, bodies.rotation, bodies.velocity
        self.angular_velocity, self.acceleration = bodies.angular_velocity, bodies.acceleration
        self.extent, self.centre, self.walk_direction = bodies.extent, bodies.centre, bodies.walk_direction
        self.mass, self.road_grip = bodies.mass, bodies.road_grip
        self.throttle, self.steer, self.brake = bodies.throttle, bodies.steer, bodies.brake
        self.walk_speed, self.wheel_angle = bodies.walk_speed, bodies.wheel_angle
        self.kind, self.model, self.gear = bodies.kind, bodies.model, bodies.gear
        self.simulate_physics = bodies.simulate_physics.view(np.uint8)
        self.weightless, self.intangible = bodies.weightless.view(np.uint8), bodies.intangible.view(np.uint8)
        self.hand_brake, self.reverse = bodies.hand_brake.view(np.uint8), bodies.reverse.view(np.uint8)
        self.manual_gear, self.jump = bodies.manual_gear.view(np.uint8), bodies.jump.view(np.uint8)
        self.figures = np.ascontiguousarray(models.table().T)
        assert self.figures.shape[1] == FIGURES and models.CORNERING == CORNERING and models.GRIP == GRIP
        self.grids = [Grid(grid) for grid in solids.grids]
        self.box_centre, self.box_extent = solids.centre, solids.extent
        self.box_cos, self.box_sin = solids.cos, solids.sin
        self.movers = <Mover*> room(NULL, self.count, sizeof(Mover))
        self.order = <Py_ssize_t*> room(NULL, self.count, sizeof(Py_ssize_t))
        self.reach = <double*> room(NULL, self.count, sizeof(double))
        for k in range(self.count):
            self.order[k] = k

    def __dealloc__(self):
        free(self.movers)
        free(self.order)
        free(self.reach)
        free(self.pairs)

    def holds(self, bodies):
        """Whether it was made for these bodies, and none has come or gone since."""
        return bodies is self.bodies and bodies.position is self.position.base

    # ------------------------------------------------------------------ before

    def begin(self):
        """Read all positions and velocities; velocities that no vehicle can have are clipped."""
        cdef Py_ssize_t k
        cdef double size, share
        cdef Mover* mover
        for k in range(self.count):
            mover = &self.movers[k]
            self._x[k], self._y[k], self._z[k] = self.position[k, 0], self.position[k, 1], self.position[k, 2]
            self._yaw[k] = self.rotation[k, 1] * DEGREE
            self._vx[k], self._vy[k] = self.velocity[k, 0], self.velocity[k, 1]
            self._rise[k] = self.velocity[k, 2]
            self._turn[k] = clip(self.angular_velocity[k, 2] * DEGREE, MAX_TURN)
            size = hypot(self._vx[k], self._vy[k]) + fabs(self._rise[k])
            if size > MAX_SPEED:
                share = MAX_SPEED / size
                self._vx[k], self._vy[k] = self._vx[k] * share, self._vy[k] * share
                self._rise[k] *= share
            mover.moves = self._moves[k] = self.simulate_physics[k]
            mover.driven = self._driven[k] = mover.moves and self.kind[k] == VEHICLE
            if not mover.moves:
                self._vx[k] = self._vy[k] = self._rise[k] = self._turn[k] = 0.0
            self._speed[k] = hypot(self._vx[k], self._vy[k])
            mover.x, mover.y, mover.rise = self._vx[k], self._vy[k], self._rise[k]
            # A walker's origin is in the middle of its box.
            self._lift[k] = 0.0 if self.kind[k] == VEHICLE else self.extent[k, 2] - self.centre[k, 2]

    cpdef double direction(self, Py_ssize_t k):
        """Direction of a vehicle's gear: 1 forwards, -1 backwards, 0 neutral."""
        cdef double way = -1.0 if self.reverse[k] else 1.0
        cdef double sign
        if self.manual_gear[k]:  # gear 0 is neutral, a negative one goes backwards
            sign = (self.gear[k] > 0) - (self.gear[k] < 0)
            way = lesser(sign * way, sign)
        return way

    def control(self, set tuned, double dt):
        """Compute what does not change during the tick: pedals, gears, the path that the wheels ask for.

        tuned: rows that are left to :meth:`control_tuned`.
        """
        cdef Py_ssize_t k
        cdef const double* figures
        cdef double gear
        for k in range(self.count):
            if not self.movers[k].driven or (tuned and k in tuned):
                continue
            figures = &self.figures[self.model[k], 0]
            # The last gear is an overdrive.
            gear = ceil(self._speed[k] * (1.25 * figures[GEARS] / figures[TOP]))
            gear = lesser(greater(gear, 1.0), figures[GEARS])
            self._control(k, figures, _steering(self._speed[k] * 3.6), gear, 0.0, 1.0, dt)

    def control_tuned(
        self,
        Py_ssize_t k,
        const double[::1] figures,
        double share,
        double gear,
        double top,
        double push,
        double dt,
    ):
        """The same for a vehicle whose physics control a client changed.

        figures: instead of the model's.  share: of the steering range.  gear: that an automatic gearbox
        has.  top: m/s in it.  push: factor on the engine's.
        """
        if figures.shape[0] != FIGURES or not 0 <= k < self.count:
            raise ValueError("there is no such vehicle, or its figures are incomplete")
        self._control(k, &figures[0], share, gear, top, push, dt)

    cdef void _control(
        self,
        Py_ssize_t k,
        const double* figures,
        double share,
        double gear,
        double top,
        double push,
        double dt,
    ) noexcept:
        cdef Mover* mover = &self.movers[k]
        cdef double per_kg = 1.0 / greater(self.mass[k], 1.0)
        cdef double throttle = self.throttle[k], angle, wanted, reach, slope
        mover.direction = self.direction(k)
        mover.grip = figures[GRIP]
        if self.road_grip[k] >= 0.0:
            mover.grip = self.figures[self.model[k], GRIP] * self.road_grip[k]
        mover.power = throttle * figures[POWER] * per_kg * push
        mover.thrust = lesser(throttle * (figures[THRUST] * figures[MASS]) * per_kg, 10.0 * GRAVITY) * push
        mover.top = top if top > 0.0 else figures[TOP] if mover.direction > 0.0 else figures[REVERSE_TOP]
        mover.drag = lesser(figures[DRAG] * per_kg, 0.01)
        mover.rear, mover.cornering = figures[REAR], figures[CORNERING]
        mover.spin = mover.grip * figures[WHEELBASE] / (2.0 * figures[GYRATION])  # rad/s^2
        mover.holding = self.brake[k] * figures[BRAKE] + self.hand_brake[k] * figures[PARKING]
        mover.holding = lesser(mover.holding, mover.grip)
        mover.coasting = (figures[COASTING] - figures[COASTING] * throttle) * fabs(mover.direction)
        angle, reach = self.wheel_angle[k] * DEGREE, STEER_RATE * dt
        wanted = clip(self.steer[k] * figures[STEER_RANGE] * share, figures[LOCK])
        angle += clip(wanted - angle, reach)
        self.wheel_angle[k] = angle / DEGREE
        slope = tan(angle)
        mover.curvature = slope / (figures[WHEELBASE] + figures[HALF_TRACK] * fabs(slope))
        if not self.manual_gear[k]:
            self.gear[k] = <int32_t> (gear if mover.direction > 0.0 else -1.0)

    def stand(self, double[::1] ground not None, double[::1] east=None, double[::1] south=None):
        """Find out who stands on the ground; its height is ``ground`` (n,), its slope ``east``, ``south``.

        Without a slope the ground is level.  Walkers turn to where they walk; those who stand can jump.
        """
        cdef Py_ssize_t k
        cdef Mover* mover
        cdef double x, y
        for k in range(self.count):
            mover = &self.movers[k]
            mover.uphill = 0.0
            if east is not None:
                mover.uphill = GRAVITY * (east[k] * cos(self._yaw[k]) + south[k] * sin(self._yaw[k]))
            if mover.moves and not mover.driven:
                x, y = self.walk_direction[k, 0], self.walk_direction[k, 1]
                self._vx[k], self._vy[k] = x * self.walk_speed[k], y * self.walk_speed[k]
                self._speed[k], self._turn[k] = hypot(self._vx[k], self._vy[k]), 0.0
                if self._speed[k] > 1e-6:
                    self._yaw[k] = atan2(y, x)
                if self._z[k] <= ground[k] + STANDS:
                    self._rise[k] = JUMP * self.jump[k]
            mover.airborne = self._z[k] > ground[k] + STANDS or self.weightless[k]

    # ------------------------------------------------------------------ a substep

    def advance(self, double h):
        """Move everything for ``h`` seconds, as if nothing were in the way."""
        cdef Py_ssize_t k
        for k in range(self.count):
            if self.movers[k].driven:
                self._drive(k, h)
            elif self.movers[k].moves:
                self._x[k] += self._vx[k] * h
                self._y[k] += self._vy[k] * h

    cdef void _drive(self, Py_ssize_t k, double h) noexcept:
        """Move one vehicle; ``dynamics`` explains the model."""
        cdef Mover* mover = &self.movers[k]
        cdef double hold = 0.0 if mover.airborne else mover.grip * h
        cdef double spin = 0.0 if mover.airborne else mover.spin * h
        cdef double c = cos(self._yaw[k]), s = sin(self._yaw[k])
        cdef double u = self._vx[k] * c + self._vy[k] * s  # forward
        cdef double w = self._vy[k] * c - self._vx[k] * s  # to the right
        cdef double speed = fabs(u), safe = greater(fabs(u), 1e-3), square = u * fabs(u)
        # Along.
        cdef double pull = lesser(mover.thrust, mover.power / safe)
        pull *= lesser(greater(mover.top - mover.direction * u, 0.0), 1.0)
        cdef double carried = u + (mover.direction * pull - mover.drag * square - mover.uphill) * h
        cdef double resist = (mover.holding + ROLLING + mover.coasting * lesser(speed, 1.0)) * h
        cdef double along = carried - clip(carried, lesser(resist, hold)) - u
        # Across: the yaw rate and sideslip that the wheels ask for, and how close to them the tyres come.
        cdef double settle = -expm1(-h * mover.cornering / safe)
        cdef double limit = sqrt(greater(hold * hold - 0.5 * along * along, 0.0)) / (safe * h)
        cdef double wanted = u * mover.curvature / (1.0 + speed * speed / CHARACTERISTIC_SPEED**2)
        wanted = clip(wanted, limit)
        cdef double turn = self._turn[k] + clip(settle * (wanted - self._turn[k]), spin)
        cdef double slip = wanted * (mover.rear - square / mover.cornering)
        # The velocity without any tyre forces, in the new heading; then what the tyres do within their grip.
        cdef double bend = turn * h
        cdef double kept_u = u * cos(bend) + w * sin(bend), kept_w = w * cos(bend) - u * sin(bend)
        cdef double push_u = along, push_w = w + settle * (slip - w) - kept_w
        cdef double excess = greater(hypot(push_u, push_w) / greater(hold, 1e-12), 1.0)
        cdef double new_u = kept_u + push_u / excess, new_w = kept_w + push_w / excess
        # Mean velocity, heading half way.
        cdef double half = self._yaw[k] + 0.5 * bend
        c, s = cos(half), sin(half)
        self._x[k] += 0.5 * h * ((u + new_u) * c - (w + new_w) * s)
        self._y[k] += 0.5 * h * ((u + new_u) * s + (w + new_w) * c)
        self._yaw[k] += bend
        c, s = cos(self._yaw[k]), sin(self._yaw[k])
        self._vx[k], self._vy[k] = new_u * c - new_w * s, new_u * s + new_w * c
        self._turn[k] = turn

    # ------------------------------------------------------------------ near bodies

    def find_near(self, double dt):
        """Find the pairs that may touch within ``dt`` seconds; returns how many there are."""
        cdef Py_ssize_t k, place, i, j
        cdef double most = 0.0, apart
        self.near = 0
        for k in range(self.count):
            self.reach[k] = (
                hypot(self.extent[k, 0], self.extent[k, 1])
                + hypot(self.centre[k, 0], self.centre[k, 1])
                + self._speed[k] * dt
                + 12.0 * dt * dt
                + 0.1
            )
            most = greater(most, self.reach[k])
        # Sort and sweep along x.  The order of the last tick is nearly right, so sorting is quick.
        for place in range(1, self.count):
            k, i = self.order[place], place
            while i > 0 and self._x[self.order[i - 1]] > self._x[k]:
                self.order[i] = self.order[i - 1]
                i -= 1
            self.order[i] = k
        for place in range(self.count):
            i = self.order[place]
            if self.intangible[i]:
                continue
            for k in range(place + 1, self.count):
                j = self.order[k]
                if self._x[j] - self._x[i] > self.reach[i] + most:
                    break
                apart = self.reach[i] + self.reach[j]
                # Walkers walk through each other, and two things that do not move cannot push each other.
                if (
                    not self.intangible[j]
                    and (self.movers[i].moves or self.movers[j].moves)
                    and (self.kind[i] == VEHICLE or self.kind[j] == VEHICLE)
                    and (self._x[i] - self._x[j]) ** 2 + (self._y[i] - self._y[j]) ** 2 < apart * apart
                ):
                    self._remember(min(i, j), max(i, j))
            if self.movers[i].moves:
                self._find_boxes(i)
        return self.near

    cdef int _find_boxes(self, Py_ssize_t k) except -1:
        """Add the map's boxes that are within the reach of a body."""
        cdef Grid grid
        cdef Py_ssize_t at, column, row, cell, box
        cdef bint gridded = False
        for grid in self.grids:
            if self.reach[k] > grid.reach:
                continue
            gridded = True
            column = <Py_ssize_t> lesser(greater((self._x[k] - grid.x0) * grid.scale, 0.0), grid.across - 1.0)
            row = <Py_ssize_t> lesser(greater((self._y[k] - grid.y0) * grid.scale, 0.0), grid.down - 1.0)
            cell = column * grid.down + row
            for at in range(grid.start[cell], grid.start[cell + 1]):
                self._try_box(k, grid.members[at])
            break
        if not gridded:  # its reach is too large for both grids
            for box in range(self.box_cos.shape[0]):
                self._try_box(k, box)
        return 0

    cdef int _try_box(self, Py_ssize_t k, Py_ssize_t box) except -1:
        cdef double x = self._x[k] - self.box_centre[box, 0], y = self._y[k] - self.box_centre[box, 1]
        cdef double c = self.box_cos[box], s = self.box_sin[box]
        if (
            fabs(x * c + y * s) < self.box_extent[box, 0] + self.reach[k]
            and fabs(y * c - x * s) < self.box_extent[box, 1] + self.reach[k]
        ):
            self._remember(k, -1 - box)
        return 0

    cdef int _remember(self, Py_ssize_t a, Py_ssize_t b) except -1:
        if self.near == self.places:
            self.pairs = <Pair*> room(self.pairs, 2 * self.places + 64, sizeof(Pair))
            self.places = 2 * self.places + 64
        self.pairs[self.near].a, self.pairs[self.near].b = a, b
        self.near += 1
        return 0

    def pairs_near(self):
        """The pairs of :meth:`find_near`: (row, other row or -1 - static)."""
        return sorted((self.pairs[p].a, self.pairs[p].b) for p in range(self.near))

    def overlapping(self):
        """Those of these pairs whose boxes overlap, seen from above."""
        cdef Py_ssize_t p, a, b
        cdef double ca, sa, cb, sb, dx, dy
        cdef const double* one
        cdef const double* other
        found = []
        for p in range(self.near):
            a, b = self.pairs[p].a, self.pairs[p].b
            ca, sa = cos(self._yaw[a]), sin(self._yaw[a])
            dx = -self._x[a] - ca * self.centre[a, 0] + sa * self.centre[a, 1]
            dy = -self._y[a] - sa * self.centre[a, 0] - ca * self.centre[a, 1]
            one = &self.extent[a, 0]
            if b >= 0:
                cb, sb = cos(self._yaw[b]), sin(self._yaw[b])
                dx += self._x[b] + cb * self.centre[b, 0] - sb * self.centre[b, 1]
                dy += self._y[b] + sb * self.centre[b, 0] + cb * self.centre[b, 1]
                other = &self.extent[b, 0]
            else:
                cb, sb = self.box_cos[-1 - b], self.box_sin[-1 - b]
                dx += self.box_centre[-1 - b, 0]
                dy += self.box_centre[-1 - b, 1]
                other = &self.box_extent[-1 - b, 0]
            if _overlap(dx, dy, ca, sa, cb, sb, one, other):
                found.append((a, b))
        found.sort()
        return found

    # ------------------------------------------------------------------ after

    def restless(self):
        """Whether any body is off the ground, or moves up or down."""
        cdef Py_ssize_t k
        for k in range(self.count):
            if self.movers[k].airborne or self._rise[k] != 0.0:
                return True
        return False

    def settle(self, double[::1] ground not None, double dt):
        """Let bodies fall, and stop at the ground of height ``ground`` (n,)."""
        cdef Py_ssize_t k
        cdef double gravity, z
        cdef bint flies
        for k in range(self.count):
            if not self.movers[k].moves:
                self._rise[k] = 0.0
                continue
            gravity = 0.0 if self.weightless[k] else GRAVITY
            # Wheels stay on a road that climbs or falls away; a jump, or a crest taken fast, lifts them.
            flies = self.movers[k].airborne or self._rise[k] > (ground[k] - self._z[k]) / dt + 1.5
            z = self._z[k] + self._rise[k] * dt - 0.5 * gravity * dt * dt if flies else ground[k]
            if flies and z <= ground[k]:
                z, self._rise[k] = ground[k], 0.0
            elif flies:
                self._rise[k] -= gravity * dt
            else:
                self._rise[k] = (z - self._z[k]) / dt
            self._z[k] = z

    def write(self, double dt, double[::1] east=None, double[::1] south=None):
        """Write everything back into the table.

        east, south: (n,) slope of the ground, if it has one.
        """
        cdef Py_ssize_t k
        cdef double yaw, c, s
        for k in range(self.count):
            self.position[k, 0], self.position[k, 1], self.position[k, 2] = self._x[k], self._y[k], self._z[k]
            self.acceleration[k, 0] = (self._vx[k] - self.movers[k].x) / dt
            self.acceleration[k, 1] = (self._vy[k] - self.movers[k].y) / dt
            self.acceleration[k, 2] = (self._rise[k] - self.movers[k].rise) / dt
            self.velocity[k, 0], self.velocity[k, 1] = self._vx[k], self._vy[k]
            self.velocity[k, 2] = self._rise[k]
            self.angular_velocity[k, 0] = self.angular_velocity[k, 1] = 0.0
            self.angular_velocity[k, 2] = self._turn[k] / DEGREE
            if not self.movers[k].moves:
                continue
            yaw = self._yaw[k] / DEGREE + 180.0
            self.rotation[k, 1] = yaw - 360.0 * floor(yaw / 360.0) - 180.0
            # Pitch and roll are those of the ground for vehicles, and zero for walkers.
            self.rotation[k, 0] = self.rotation[k, 2] = 0.0
            if east is not None and self.kind[k] == VEHICLE:
                c, s = cos(self._yaw[k]), sin(self._yaw[k])
                self.rotation[k, 0] = atan(east[k] * c + south[k] * s) / DEGREE
                self.rotation[k, 2] = -atan(south[k] * c - east[k] * s) / DEGREE


cdef double _steering(double kmh) noexcept:
    """Share of the steering range at a speed in m/s."""
    cdef Py_ssize_t k, last = STEERING.shape[1] - 1
    if kmh <= STEERING[0, 0]:
        return STEERING[1, 0]
    for k in range(last):
        if kmh < STEERING[0, k + 1]:
            return STEERING[1, k] + (STEERING[1, k + 1] - STEERING[1, k]) * (
                (kmh - STEERING[0, k]) / (STEERING[0, k + 1] - STEERING[0, k])
            )
    return STEERING[1, last]


cdef bint _overlap(
    double dx, double dy, double ca, double sa, double cb, double sb, const double* one, const double* other
) noexcept:
    """Whether two rectangles overlap (separating axes); (dx, dy) leads from one middle to the other."""
    cdef double c = fabs(ca * cb + sa * sb), s = fabs(sb * ca - cb * sa)
    return (
        fabs(dx * ca + dy * sa) < one[0] + other[0] * c + other[1] * s
        and fabs(dy * ca - dx * sa) < one[1] + other[0] * s + other[1] * c
        and fabs(dx * cb + dy * sb) < other[0] + one[0] * c + one[1] * s
        and fabs(dy * cb - dx * sb) < other[1] + one[0] * s + one[1] * c
    )
