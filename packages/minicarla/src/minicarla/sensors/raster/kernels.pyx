# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The inner loops of the rasteriser, compiled: what a camera sees, in which order, and painting it.

They are plain loops over plain numbers.  A picture takes some thousand small decisions, and one call on an
array costs more than all of these decisions do here.  ``painter`` explains the method.  Bounds are not
checked: all arrays come from ``painter``, ``mesh`` and ``picture``.
"""

import numpy as np

from libc.math cimport M_PI, asin, atan2, ceil, cos, exp, fabs, floor, hypot, rint, sin
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, qsort

from minicarla.plain cimport greater, lesser, room

cdef enum:
    SCREENS = 16  # buildings, nearest first, that are tried for hiding others
    ROUNDS = 8  # in which objects that are behind others move back
    CORNERS = 6  # at most, of a quadrilateral cut by the near plane; a twisted one may be cut twice


cdef struct Thing:
    # An object from the eye: along the world's axes, and in plan.
    double x, y, z
    double axis_x, axis_y  # its own forward direction in plan
    double half_x, half_y, radius  # its box in plan, and the circle around that
    double scale  # pixels per metre
    double distance, bearing, spread  # spread: half the angle that the circle takes
    double rank  # in the order of painting, farthest first
    int sides  # bits of those of its four faces in plan on whose outer side the eye is
    bint seen


cdef struct Frame:
    # That of an object's quadrilaterals: a body's own, or the world's for statics.
    double[3][3] turn  # from there to the world's
    double[3][3] matrix  # from there to the eye's
    double[3] offset  # its origin in the eye's frame
    double[3] eye  # the eye in it
    double height  # of its origin


cdef struct Face:
    double[CORNERS][2] corners  # pixel coordinates
    int count  # of corners
    double[4] ahead  # metres
    int64_t row, owner


cdef struct Conflict:
    int64_t behind, front
    double pushed


cdef struct Keyed:
    double key
    int64_t index


cdef int _by_key(const void* a, const void* b) noexcept nogil:
    """Ascending; equal keys keep their order."""
    cdef const Keyed* one = <const Keyed*> a
    cdef const Keyed* other = <const Keyed*> b
    if one.key != other.key:
        return -1 if one.key < other.key else 1
    return -1 if one.index < other.index else 1


cdef class Faces:
    """A :class:`~minicarla.sensors.raster.mesh.Mesh` as the loops read it."""

    cdef Py_ssize_t count
    # Of each object.
    cdef const int64_t[::1] first, leader
    cdef const double[::1] radius
    cdef const double[:, ::1] extent, centre, axis
    cdef const uint8_t[::1] screen
    # Of each quadrilateral.
    cdef const double[:, :, ::1] corners
    cdef const double[:, ::1] normal, albedo
    cdef const double[::1] offset, least, most, part_middle
    cdef const int64_t[::1] role, layer
    cdef const uint8_t[::1] shadow
    # Pairs of objects that stand so close that distance may not tell which hides which, by the first.
    cdef const int64_t[::1] pairs, second
    cdef const uint8_t[::1] before_second, before_first

    def __init__(self, mesh, pairs=None):
        """pairs: ``painter.Pairs``, for a ``StaticMesh``."""
        self.count = len(mesh.radius)
        objects = np.arange(self.count + 1)
        self.first = np.searchsorted(mesh.object, objects)
        self.radius, self.extent = mesh.radius, np.ascontiguousarray(mesh.extent)
        self.corners = mesh.vertices[mesh.quads]
        self.normal, self.offset, self.albedo = mesh.normal, mesh.offset, mesh.albedo
        self.least, self.most, self.part_middle = mesh.least, mesh.most, mesh.part_middle
        self.role, self.layer, self.shadow = mesh.role, mesh.layer, mesh.shadow.view(np.uint8)
        if pairs is not None:
            self.centre, self.axis, self.leader = np.ascontiguousarray(mesh.centre), mesh.axis, mesh.leader
            self.screen = mesh.screen.view(np.uint8)
            self.pairs, self.second = np.searchsorted(pairs.first, objects), pairs.second
            self.before_second, self.before_first = pairs.before_second, pairs.before_first


cdef class Look:
    """What one camera sees of statics and bodies.  Call :meth:`look`, then read it or paint it.

    width, height, focal: pixels.  near, reach: metres ahead between which things are drawn.
    big: metres; bodies with a larger radius, seen from above, are compared with everything near them.

    Objects are numbered statics first, then bodies.
    """

    cdef public bint hides
    """False: also draw what is wholly behind a building.  The picture stays the same (for tests)."""
    cdef double focal, slope_x, slope_y, margin_x, margin_y, middle_x, middle_y, near, reach, big
    cdef Faces still, moving
    cdef double[2] heading  # where the eye looks, in plan
    cdef Frame world  # of statics; its matrix is the eye's axes, its eye the eye
    cdef Frame* frames  # of bodies
    cdef Thing* things
    cdef int64_t* alive  # objects in view, ascending
    cdef Keyed* order  # the same, from far to near
    cdef Face* faces
    cdef Keyed* sequence  # the same, from far to near
    cdef Conflict* conflicts
    cdef Py_ssize_t living, seen, conflicting, room_things, room_frames, room_faces, room_conflicts

    def __init__(self, width, height, double focal, double near, double reach, double big):
        self.focal, self.near, self.reach, self.big, self.hides = focal, near, reach, big, True
        self.middle_x, self.middle_y = 0.5 * width, 0.5 * height
        self.slope_x, self.slope_y = self.middle_x / focal, self.middle_y / focal
        self.margin_x, self.margin_y = hypot(1.0, self.slope_x), hypot(1.0, self.slope_y)
        self.still = self.moving = None
        self._room_for_faces(256)
        self._room_for_conflicts(256)

    def __dealloc__(self):
        free(self.frames)
        free(self.things)
        free(self.alive)
        free(self.order)
        free(self.faces)
        free(self.sequence)
        free(self.conflicts)

    cdef int _room_for_objects(self, Py_ssize_t objects, Py_ssize_t bodies) except -1:
        if objects > self.room_things:
            self.things = <Thing*> room(self.things, objects, sizeof(Thing))
            self.alive = <int64_t*> room(self.alive, objects, sizeof(int64_t))
            self.order = <Keyed*> room(self.order, objects, sizeof(Keyed))
            self.room_things = objects
        if bodies > self.room_frames:
            self.frames = <Frame*> room(self.frames, bodies, sizeof(Frame))
            self.room_frames = bodies
        return 0

    cdef int _room_for_faces(self, Py_ssize_t count) except -1:
        self.faces = <Face*> room(self.faces, count, sizeof(Face))
        self.sequence = <Keyed*> room(self.sequence, count, sizeof(Keyed))
        self.room_faces = count
        return 0

    cdef int _room_for_conflicts(self, Py_ssize_t count) except -1:
        self.conflicts = <Conflict*> room(self.conflicts, count, sizeof(Conflict))
        self.room_conflicts = count
        return 0

    def look(
        self,
        Faces still not None,
        Faces moving not None,
        const double[:] eye,
        const double[:, :] axes,
        const double[:, :] position,
        const double[:, :] rotation,
        const double[:, :] middle,
        bint shadows,
    ):
        """Find the quadrilaterals in view and the order to paint them in.

        eye (3,), axes (3, 3): of ``painter.Eye``.  position, rotation, middle (B, 3): of the bodies
        whose shapes are ``moving``, and of the middles of their boxes in their own frames.
        """
        cdef Py_ssize_t i, j
        cdef double length
        if not position.shape[0] == rotation.shape[0] == middle.shape[0] == moving.count:
            raise ValueError("there must be one position, rotation and middle for each body")
        if not position.shape[1] == rotation.shape[1] == middle.shape[1] == 3 == eye.shape[0] == len(axes):
            raise ValueError("positions, angles and the axes of the eye must have three parts")
        self.seen = 0
        self._room_for_objects(still.count + moving.count, moving.count)
        self.still, self.moving = still, moving
        for j in range(3):
            self.world.eye[j], self.world.offset[j] = eye[j], 0.0
            for i in range(3):
                self.world.turn[i][j] = 1.0 if i == j else 0.0
                self.world.matrix[i][j] = axes[i, j]
                self.world.offset[j] -= eye[i] * axes[i, j]
        self.world.height = 0.0
        length = hypot(axes[0, 2], axes[1, 2])
        self.heading[0], self.heading[1] = 1.0, 0.0
        if length > 0.2:  # else it looks straight up or down
            self.heading[0], self.heading[1] = axes[0, 2] / length, axes[1, 2] / length
        self.living = 0
        self._find_statics()
        self._find_bodies(position, rotation, middle)
        if self.hides:
            self._hide()
        self._rank()
        self._collect(shadows)

    # ------------------------------------------------------------------ objects

    cdef void _find_statics(self) noexcept:
        cdef Py_ssize_t k
        cdef Thing* thing
        cdef Faces still = self.still
        cdef double* eye = self.world.eye
        for k in range(still.count):
            thing = &self.things[k]
            thing.x = still.centre[k, 0] - eye[0]
            thing.y = still.centre[k, 1] - eye[1]
            thing.z = still.centre[k, 2] - eye[2]
            thing.seen = self._in_view(thing, still.radius[k])
            if thing.seen:
                thing.axis_x, thing.axis_y = still.axis[k, 0], still.axis[k, 1]
                thing.half_x, thing.half_y = still.extent[k, 0], still.extent[k, 1]
                self._notice(k)

    cdef void _find_bodies(
        self, const double[:, :] position, const double[:, :] rotation, const double[:, :] middle
    ) noexcept:
        cdef Py_ssize_t b, i, j, first = self.still.count
        cdef Thing* thing
        cdef Frame* frame
        cdef double[3] away
        cdef double cp, sp, cy, sy, cr, sr, degree = M_PI / 180.0
        for b in range(self.moving.count):
            thing, frame = &self.things[first + b], &self.frames[b]
            cp, sp = cos(rotation[b, 0] * degree), sin(rotation[b, 0] * degree)
            cy, sy = cos(rotation[b, 1] * degree), sin(rotation[b, 1] * degree)
            cr, sr = cos(rotation[b, 2] * degree), sin(rotation[b, 2] * degree)
            # geometry.rotation_matrix
            frame.turn[0][0], frame.turn[1][0], frame.turn[2][0] = cp * cy, cp * sy, sp
            frame.turn[0][1], frame.turn[0][2] = cy * sp * sr - sy * cr, -cy * sp * cr - sy * sr
            frame.turn[1][1], frame.turn[1][2] = sy * sp * sr + cy * cr, -sy * sp * cr + cy * sr
            frame.turn[2][1], frame.turn[2][2] = -cp * sr, cp * cr
            for i in range(3):
                away[i] = position[b, i] - self.world.eye[i]
            thing.x, thing.y, thing.z = away[0], away[1], away[2]
            for j in range(3):
                thing.x += frame.turn[0][j] * middle[b, j]
                thing.y += frame.turn[1][j] * middle[b, j]
                thing.z += frame.turn[2][j] * middle[b, j]
            thing.seen = self._in_view(thing, self.moving.radius[b])
            if not thing.seen:
                continue
            frame.height = position[b, 2]
            for j in range(3):
                frame.offset[j] = frame.eye[j] = 0.0
                for i in range(3):
                    frame.offset[j] += away[i] * self.world.matrix[i][j]
                    frame.eye[j] -= away[i] * frame.turn[i][j]
                    frame.matrix[i][j] = (
                        frame.turn[0][i] * self.world.matrix[0][j]
                        + frame.turn[1][i] * self.world.matrix[1][j]
                        + frame.turn[2][i] * self.world.matrix[2][j]
                    )
            thing.axis_x, thing.axis_y = frame.turn[0][0], frame.turn[1][0]
            thing.half_x, thing.half_y = self.moving.extent[b, 0], self.moving.extent[b, 1]
            self._notice(first + b)

    cdef bint _in_view(self, Thing* thing, double radius) noexcept:
        """Whether the ball around an object touches the pyramid of view and is large enough to see."""
        cdef double x = thing.x, y = thing.y, z = thing.z
        cdef double[3]* axes = self.world.matrix
        cdef double ahead = x * axes[0][2] + y * axes[1][2] + z * axes[2][2]
        if not (self.near - radius < ahead < lesser(radius * self.focal / 0.4, self.reach)):
            return False
        cdef double right = x * axes[0][0] + y * axes[1][0] + z * axes[2][0]
        if not fabs(right) < ahead * self.slope_x + radius * self.margin_x:
            return False
        cdef double down = x * axes[0][1] + y * axes[1][1] + z * axes[2][1]
        if not fabs(down) < ahead * self.slope_y + radius * self.margin_y:
            return False
        thing.scale = self.focal / greater(ahead, 1.0)
        return True

    cdef void _notice(self, Py_ssize_t k) noexcept:
        """Note where an object in view is, seen from above."""
        cdef Thing* thing = &self.things[k]
        cdef double x = thing.x * self.heading[0] + thing.y * self.heading[1]
        cdef double y = thing.y * self.heading[0] - thing.x * self.heading[1]
        thing.radius = hypot(thing.half_x, thing.half_y)
        thing.distance, thing.bearing = hypot(x, y), atan2(y, x)
        thing.spread = asin(lesser(thing.radius / greater(thing.distance, 1e-9), 1.0))
        x = -(thing.x * thing.axis_x + thing.y * thing.axis_y)
        y = -(thing.y * thing.axis_x - thing.x * thing.axis_y)
        thing.sides = _sides(x, y, thing.half_x, thing.half_y)
        self.alive[self.living] = k
        self.living += 1

    cdef void _hide(self) noexcept:
        """Leave out what is wholly behind one building.

        As seen from above: within the bearings of the building's corners, farther than its farthest
        corner, and not rising above the line of sight over its top.
        """
        cdef Py_ssize_t place, j, k, tried = 0, left = 0
        cdef Py_ssize_t[SCREENS] which
        cdef double[SCREENS] far
        cdef double[SCREENS] low
        cdef double[SCREENS] high
        cdef double[SCREENS] slope
        cdef double farthest, half, near, rise, top
        cdef Thing* thing
        if fabs(self.world.matrix[2][2]) > 0.9:
            return
        for place in range(self.living):
            k = self.alive[place]
            if k >= self.still.count:
                break
            # If the roof is lower than the eye, one sees what is behind the building.
            if not self.still.screen[k] or self.things[k].z + self.still.extent[k, 2] <= 0.0:
                continue
            farthest = self._farthest(&self.things[k])
            # Keep the nearest ones, sorted by insertion.
            j = tried
            if tried < SCREENS:
                tried += 1
            elif farthest < far[SCREENS - 1]:
                j = SCREENS - 1
            else:
                continue
            while j > 0 and far[j - 1] > farthest:
                far[j], which[j] = far[j - 1], which[j - 1]
                j -= 1
            far[j], which[j] = farthest, k
        for j in range(tried):
            thing = &self.things[which[j]]
            self._bearings(thing, &low[j], &high[j])
            slope[j] = (thing.z + self.still.extent[which[j], 2]) / far[j]
        for place in range(self.living):
            k = self.alive[place]
            thing = &self.things[k]
            if k < self.still.count:
                half = self.still.extent[k, 2]
            else:
                half = self.moving.extent[k - self.still.count, 2]
            top, near = thing.z + half, thing.distance - thing.radius
            rise = top / greater(near if top > 0.0 else thing.distance + thing.radius, 1e-9)
            for j in range(tried):
                if (
                    far[j] <= near
                    and low[j] <= thing.bearing - thing.spread
                    and thing.bearing + thing.spread <= high[j]
                    and slope[j] >= rise
                ):
                    thing.seen = False
                    break
            if thing.seen:
                self.alive[left] = k
                left += 1
        self.living = left

    cdef double _farthest(self, Thing* thing) noexcept:
        """Metres to the farthest corner of a box, seen from above."""
        cdef double x = fabs(thing.x * thing.axis_x + thing.y * thing.axis_y) + thing.half_x
        cdef double y = fabs(thing.y * thing.axis_x - thing.x * thing.axis_y) + thing.half_y
        return hypot(x, y)

    cdef void _bearings(self, Thing* thing, double* low, double* high) noexcept:
        """The bearings between which a box lies, seen from above; none if it reaches behind the eye."""
        cdef double along, across, x, y, bearing
        cdef int corner
        low[0], high[0] = 9.0, -9.0
        for corner in range(4):
            along = thing.half_x if corner & 1 else -thing.half_x
            across = thing.half_y if corner & 2 else -thing.half_y
            x = thing.x + along * thing.axis_x - across * thing.axis_y
            y = thing.y + along * thing.axis_y + across * thing.axis_x
            bearing = atan2(
                y * self.heading[0] - x * self.heading[1], x * self.heading[0] + y * self.heading[1]
            )
            low[0], high[0] = lesser(low[0], bearing), greater(high[0], bearing)
        if high[0] - low[0] > M_PI:
            low[0] = 9.0

    # ------------------------------------------------------------------ their order

    cdef int _rank(self) except -1:
        """Sort for painting: by distance, but what hides another object always comes after it."""
        cdef Py_ssize_t place, k, c
        cdef Faces still = self.still
        cdef Thing* thing
        cdef bint settled
        self.conflicting = 0
        for place in range(self.living):
            k = self.alive[place]
            if k >= still.count:
                break
            for c in range(still.pairs[k], still.pairs[k + 1]):
                if self.things[still.second[c]].seen:
                    self._compare(k, still.second[c], still.before_second[c], still.before_first[c])
        self._compare_bodies()
        # An object that is behind another moves back, and so does what is behind it.  Boxes that run into
        # each other can form a ring; it is given up after a few rounds.
        for _ in range(ROUNDS):
            settled = True
            for c in range(self.conflicting):
                self.conflicts[c].pushed = self.things[self.conflicts[c].front].distance + 1e-3
                settled &= self.things[self.conflicts[c].behind].distance >= self.conflicts[c].pushed
            if settled:
                break
            for c in range(self.conflicting):
                thing = &self.things[self.conflicts[c].behind]
                thing.distance = greater(thing.distance, self.conflicts[c].pushed)
        for place in range(self.living):
            k = self.alive[place]
            self.order[place].key, self.order[place].index = -self.things[k].distance, k
        qsort(self.order, self.living, sizeof(Keyed), _by_key)
        for place in range(self.living):
            self.things[self.order[place].index].rank = place
        return 0

    cdef int _compare_bodies(self) except -1:
        """Compare bodies with what is large, and large bodies with everything.

        Between smaller things the distance gives the right order, unless they nearly touch.  Two things
        whose circles are apart in distance or in bearing cannot hide each other wrongly.
        """
        cdef Py_ssize_t place, other, k, j, bodies = self.living
        cdef Thing* one
        cdef Thing* two
        while bodies > 0 and self.alive[bodies - 1] >= self.still.count:
            bodies -= 1
        for place in range(self.living):
            k = self.alive[place]
            one = &self.things[k]
            if one.radius <= self.big:
                continue
            for other in range(bodies if place < bodies else 0, self.living):
                j = self.alive[other]
                two = &self.things[j]
                if (
                    j != k
                    and fabs(one.distance - two.distance) < one.radius + two.radius
                    and fabs(one.bearing - two.bearing) < one.spread + two.spread
                ):
                    self._compare(k, j, _outside(one, two), _outside(two, one))
        return 0

    cdef int _compare(self, Py_ssize_t a, Py_ssize_t b, int before_b, int before_a) except -1:
        """The one in front is the one that is on the same outer side of a face of the other as the eye.

        before_b: bits of the faces of b on whose outer side a lies wholly.  before_a: the same for b and a.
        """
        cdef bint a_clear = (self.things[b].sides & before_b) != 0
        cdef bint b_clear = (self.things[a].sides & before_a) != 0
        if a_clear == b_clear:
            return 0
        if self.conflicting == self.room_conflicts:
            self._room_for_conflicts(2 * self.room_conflicts)
        self.conflicts[self.conflicting].behind = b if a_clear else a
        self.conflicts[self.conflicting].front = a if a_clear else b
        self.conflicting += 1
        return 0

    # ------------------------------------------------------------------ quadrilaterals

    cdef Frame* _frame(self, Py_ssize_t k) noexcept:
        return &self.world if k < self.still.count else &self.frames[k - self.still.count]

    cdef int _collect(self, bint shadows) except -1:
        """Collect the quadrilaterals that are turned to the eye and large enough, from far to near.

        They are sorted by object, then by height from the eye, then details after faces.
        """
        cdef Py_ssize_t place, k, q
        cdef Faces mesh
        cdef Frame* frame
        cdef Thing* thing
        cdef double rank, up
        for place in range(self.living):
            k = self.alive[place]
            thing, frame, rank = &self.things[k], self._frame(k), self.things[k].rank
            mesh = self.still
            if k >= self.still.count:
                mesh, k = self.moving, k - self.still.count
            elif self.things[mesh.leader[k]].seen:
                rank = self.things[mesh.leader[k]].rank
            for q in range(mesh.first[k], mesh.first[k + 1]):
                if not (mesh.least[q] < thing.scale <= mesh.most[q]) or (mesh.shadow[q] and not shadows):
                    continue
                if (
                    mesh.normal[q, 0] * frame.eye[0]
                    + mesh.normal[q, 1] * frame.eye[1]
                    + mesh.normal[q, 2] * frame.eye[2]
                    <= mesh.offset[q]
                ):
                    continue
                if self.seen == self.room_faces:
                    self._room_for_faces(2 * self.room_faces)
                if not self._project(&mesh.corners[q, 0, 0], frame, &self.faces[self.seen]):
                    continue
                self.faces[self.seen].row, self.faces[self.seen].owner = q, self.alive[place]
                up = fabs(mesh.part_middle[q] + frame.height - self.world.eye[2])
                self.sequence[self.seen].key = rank * 1e4 - up * 10.0 + mesh.layer[q] * 0.1
                self.sequence[self.seen].index = self.seen
                self.seen += 1
        qsort(self.sequence, self.seen, sizeof(Keyed), _by_key)
        return 0

    cdef bint _project(self, const double* corners, Frame* frame, Face* face) noexcept:
        """Project four corners; False if they are outside the picture, or too small."""
        cdef double[4][3] point
        cdef int right = 0, left = 0, below = 0, above = 0, behind = 0, j, axis
        cdef double x, y, z, scale, area
        for j in range(4):
            x, y, z = corners[3 * j], corners[3 * j + 1], corners[3 * j + 2]
            for axis in range(3):
                point[j][axis] = (
                    x * frame.matrix[0][axis]
                    + y * frame.matrix[1][axis]
                    + z * frame.matrix[2][axis]
                    + frame.offset[axis]
                )
            x, y, z = point[j][0], point[j][1], point[j][2]
            face.ahead[j] = z
            right += x > self.slope_x * z
            left += -x > self.slope_x * z
            below += y > self.slope_y * z
            above += -y > self.slope_y * z
            behind += z < self.near
        if right == 4 or left == 4 or below == 4 or above == 4 or behind == 4:
            return False
        if behind:
            self._cut(point, face)
            return True
        face.count = 4
        for j in range(4):
            scale = self.focal / point[j][2]
            face.corners[j][0] = self.middle_x + scale * point[j][0]
            face.corners[j][1] = self.middle_y + scale * point[j][1]
        # Twice the area, in pixels.
        area = (face.corners[2][0] - face.corners[0][0]) * (face.corners[3][1] - face.corners[1][1])
        area -= (face.corners[2][1] - face.corners[0][1]) * (face.corners[3][0] - face.corners[1][0])
        return fabs(area) > 3.0

    cdef void _cut(self, double[4][3] point, Face* face) noexcept:
        """Keep the part beyond the near plane (Sutherland and Hodgman 1974, for one plane)."""
        cdef int j, last = 3
        cdef double t, scale
        face.count = 0
        for j in range(4):
            if (point[j][2] >= self.near) != (point[last][2] >= self.near):
                t = (self.near - point[last][2]) / (point[j][2] - point[last][2])
                scale = self.focal / self.near
                face.corners[face.count][0] = self.middle_x + scale * (
                    point[last][0] + t * (point[j][0] - point[last][0])
                )
                face.corners[face.count][1] = self.middle_y + scale * (
                    point[last][1] + t * (point[j][1] - point[last][1])
                )
                face.count += 1
            if point[j][2] >= self.near:
                scale = self.focal / point[j][2]
                face.corners[face.count][0] = self.middle_x + scale * point[j][0]
                face.corners[face.count][1] = self.middle_y + scale * point[j][1]
                face.count += 1
            last = j

    # ------------------------------------------------------------------ what was seen

    def __len__(self):
        """Number of quadrilaterals.  All methods below give a row for each of them, farthest first."""
        return self.seen

    def corners(self):
        """A list of (3 to 6, 2) pixel coordinates."""
        cdef Face* face
        out = []
        for place in range(self.seen):
            face = &self.faces[self.sequence[place].index]
            out.append(np.array([(face.corners[j][0], face.corners[j][1]) for j in range(face.count)]))
        return out

    def owners(self):
        """(F,) number of the object that each belongs to."""
        cdef Py_ssize_t place
        cdef int64_t[::1] out = np.empty(self.seen, np.int64)
        for place in range(self.seen):
            out[place] = self.faces[self.sequence[place].index].owner
        return np.asarray(out)

    def ahead(self):
        """(F, 4) metres of each corner along the optical axis, also of those behind the near plane."""
        cdef Py_ssize_t place, j
        cdef double[:, ::1] out = np.empty((self.seen, 4))
        for place in range(self.seen):
            for j in range(4):
                out[place, j] = self.faces[self.sequence[place].index].ahead[j]
        return np.asarray(out)

    def planes(self):
        """(F, 3): c such that 1 / depth = c . (right / ahead, down / ahead, 1) everywhere on it."""
        cdef Py_ssize_t place, i, j
        cdef Face* face
        cdef Frame* frame
        cdef Faces mesh
        cdef double distance
        cdef double[:, ::1] out = np.empty((self.seen, 3))
        for place in range(self.seen):
            face = &self.faces[self.sequence[place].index]
            frame = self._frame(face.owner)
            mesh = self.still if face.owner < self.still.count else self.moving
            # On a plane n . p = d, 1 / depth = n . (x, y, 1) / d; here in the eye's frame.
            distance = mesh.offset[face.row]
            for j in range(3):
                out[place, j] = 0.0
                for i in range(3):
                    out[place, j] += mesh.normal[face.row, i] * frame.matrix[i][j]
                distance += out[place, j] * frame.offset[j]
            if fabs(distance) < 1e-9:
                distance = 1e-9
            for j in range(3):
                out[place, j] /= distance
        return np.asarray(out)

    def colours(self, light, const double[:, ::1] glow, const uint8_t[:] braking, int lamp, int64_t shining):
        """(F,) uint32 colours, each BGRA: lit by sun and sky, with their own glow, seen through fog.

        light: ``light.Illumination``.  glow (roles, 3): BGR.  braking (B,): bodies whose quadrilaterals of
        the role ``lamp`` have the colour ``shining`` (0xRRGGBB).
        """
        cdef Py_ssize_t place, i
        cdef Face* face
        cdef Frame* frame
        cdef Faces mesh
        cdef const double[::1] sun = light.sun, direct = light.direct
        cdef const double[::1] ambient = light.ambient, fog = light.fog
        cdef double extinction = light.extinction, clear = light.clear, facing, through, value
        cdef uint32_t colour
        cdef uint32_t[::1] out = np.empty(self.seen, np.uint32)
        if braking.shape[0] != self.moving.count or glow.shape[1] != 3:
            raise ValueError("one brake for each body is needed, and three parts of each colour")
        for place in range(self.seen):
            face = &self.faces[self.sequence[place].index]
            frame = self._frame(face.owner)
            mesh = self.still if face.owner < self.still.count else self.moving
            facing = 0.0
            for i in range(3):
                facing += mesh.normal[face.row, i] * (
                    frame.turn[0][i] * sun[0] + frame.turn[1][i] * sun[1] + frame.turn[2][i] * sun[2]
                )
            facing = greater(facing, 0.0)
            through = exp(-extinction * greater(0.5 * (face.ahead[0] + face.ahead[2]) - clear, 0.0))
            colour = <uint32_t> 255 << 24
            for i in range(3):
                value = mesh.albedo[face.row, i] * (ambient[i] + direct[i] * facing)
                value += glow[mesh.role[face.row], i]
                if (
                    mesh.role[face.row] == lamp
                    and face.owner >= self.still.count
                    and braking[face.owner - self.still.count]
                ):
                    value = (shining >> 8 * i) & 255
                value = fog[i] + (value - fog[i]) * through
                colour |= <uint32_t> rint(lesser(greater(value, 0.0), 255.0)) << 8 * <uint32_t> i
            out[place] = colour
        return np.asarray(out)

    def paint(self, uint32_t[:, ::1] canvas not None, const uint32_t[::1] values not None):
        """Fill the quadrilaterals, farthest first, with their ``values`` (F,).

        A pixel belongs to the polygon that contains its middle.  A polygon has at least one row, and at
        least one pixel in each of its rows, so that a distant pole is not broken up.
        """
        cdef Py_ssize_t place
        cdef double[::1] left = np.empty(canvas.shape[0]), right = np.empty(canvas.shape[0])
        if values.shape[0] != self.seen:
            raise ValueError(f"{values.shape[0]} values for {self.seen} quadrilaterals")
        if canvas.shape[0] == 0 or canvas.shape[1] == 0:
            return
        for place in range(self.seen):
            _fill(canvas, &self.faces[self.sequence[place].index], values[place], &left[0], &right[0])


cdef inline int _sides(double x, double y, double reach_x, double reach_y) noexcept:
    """Bits of the faces of a box on whose outer side a point is: 1 +x, 2 -x, 4 +y, 8 -y."""
    return (x > reach_x) | (x < -reach_x) << 1 | (y > reach_y) << 2 | (y < -reach_y) << 3


cdef int _outside(Thing* a, Thing* b) noexcept:
    """Bits of the faces of b on whose outer side a lies wholly."""
    cdef double along = fabs(a.axis_x * b.axis_x + a.axis_y * b.axis_y)
    cdef double across = fabs(a.axis_y * b.axis_x - a.axis_x * b.axis_y)
    cdef double dx = a.x - b.x, dy = a.y - b.y
    return _sides(
        dx * b.axis_x + dy * b.axis_y,
        dy * b.axis_x - dx * b.axis_y,
        b.half_x + a.half_x * along + a.half_y * across - 1e-3,
        b.half_y + a.half_x * across + a.half_y * along - 1e-3,
    )


cdef void _fill(uint32_t[:, ::1] canvas, Face* face, uint32_t value, double* left, double* right) noexcept:
    """Fill a convex polygon; ``left`` and ``right`` have room for one number for each row."""
    cdef Py_ssize_t first, end, row, start, stop, column, height = canvas.shape[0], width = canvas.shape[1]
    cdef double top = 1e300, bottom = -1e300, x, y, slope, high, low
    cdef uint32_t* pixels
    cdef int j, last
    for j in range(face.count):
        top, bottom = lesser(top, face.corners[j][1]), greater(bottom, face.corners[j][1])
    if not (bottom > 0.0 and top < height):
        return
    first, end = _middles(top, height), _middles(bottom, height)
    if first == end:  # it lies between the middles of two rows
        first = <Py_ssize_t> floor(lesser(greater(0.5 * (top + bottom), 0.0), height - 1.0))
        end = first + 1
        left[first], right[first] = 1e300, -1e300
        for j in range(face.count):
            x = face.corners[j][0]
            left[first], right[first] = lesser(left[first], x), greater(right[first], x)
    else:
        for row in range(first, end):
            left[row], right[row] = 1e300, -1e300
        last = face.count - 1
        for j in range(face.count):
            high, low = face.corners[last][1], face.corners[j][1]
            if high != low:
                slope = (face.corners[j][0] - face.corners[last][0]) / (low - high)
                x, y = face.corners[last][0], high
                for row in range(_middles(lesser(high, low), height), _middles(greater(high, low), height)):
                    top = x + (row + 0.5 - y) * slope
                    left[row], right[row] = lesser(left[row], top), greater(right[row], top)
            last = j
    for row in range(first, end):
        if not (right[row] > 0.0 and left[row] < width):
            continue
        start, stop = _middles(left[row], width), _middles(right[row], width)
        if start == stop:
            start = <Py_ssize_t> floor(lesser(greater(0.5 * (left[row] + right[row]), 0.0), width - 1.0))
            stop = start + 1
        pixels = &canvas[row, 0]
        for column in range(start, stop):
            pixels[column] = value


cdef inline Py_ssize_t _middles(double edge, Py_ssize_t count) noexcept:
    """How many pixels of a line of ``count`` have their middles before ``edge``."""
    return <Py_ssize_t> ceil(lesser(greater(edge - 0.5, 0.0), <double> count))


cdef enum:
    EVEN = 0x00FF00FF  # blue and red of a pixel
    HALVES = 0x00800080


cdef class Pyramid:
    """The ground's texture and its halved copies, as the loops read them.

    levels: (rows, columns) uint32 arrays, finest first; each pixel is BGRA; at least two rows and columns.
    x0, y0: corner of the texture, metres.  resolution: metres a pixel in the finest level.
    """

    cdef readonly list levels
    cdef double x0, y0, resolution

    def __init__(self, list levels, double x0, double y0, double resolution):
        if not levels or min(min(level.shape) for level in levels) < 2:
            raise ValueError("each level needs two pixels each way")
        self.levels, self.x0, self.y0, self.resolution = levels, x0, y0, resolution

    def draw(
        self,
        uint32_t[:, ::1] canvas not None,
        const double[:, ::1] homography not None,
        list bands not None,
        Py_ssize_t top,
        const uint16_t[:, :, ::1] gain not None,
        const uint16_t[:, :, ::1] veil not None,
    ):
        """Draw it on the rows of a picture from ``top`` on: ``texture * gain / 256 + veil``, bilinear.

        homography (3, 3): from pixel coordinates (u, v, 1) to (x w, y w, w) on the ground.  Beyond the
        texture its outermost pixels are repeated.
        bands: (first row, end, level, samples).  Samples is 1 for one in each pixel, 2 for two above each
        other, 0 for one in each two by two pixels.
        gain, veil (rows, columns or 1, 4): with any pixel they must not give more than 255.
        """
        cdef Py_ssize_t rows = canvas.shape[0], columns = canvas.shape[1], first, end, level, row, k
        cdef int samples, wide = 4 if gain.shape[1] > 1 else 0
        cdef double[9] h
        cdef const uint32_t[:, ::1] texture
        if not gain.shape[0] == veil.shape[0] == rows - top or gain.shape[1] != veil.shape[1]:
            raise ValueError("gain and veil must have the rows of the picture from top on, and one shape")
        if gain.shape[1] not in (1, columns) or gain.shape[2] != 4 or veil.shape[2] != 4:
            raise ValueError("gain and veil must have one column, or those of the picture, of four channels")
        if homography.shape[0] != 3 or homography.shape[1] != 3:
            raise ValueError("a homography has three rows and columns")
        cdef uint32_t* line = <uint32_t*> room(NULL, 4 * columns, sizeof(uint32_t))
        try:
            for first, end, level, samples in bands:
                if not top <= first <= end <= rows:
                    raise ValueError(f"rows {first} to {end} are not on the ground's part of the picture")
                texture = self.levels[level]
                for k in range(9):
                    h[k] = homography[k // 3, k % 3]
                self._to_texture(h, level)
                for row in range(first, end):
                    if samples == 2:
                        _sample(texture, h, row + 0.25, 1, line, columns)
                        _sample(texture, h, row + 0.75, 1, line + columns, columns)
                        for k in range(columns):  # the mean of both
                            line[k] = (line[k] & line[columns + k]) + (
                                (line[k] ^ line[columns + k]) >> 1 & 0x7F7F7F7F
                            )
                    elif samples == 1:
                        _sample(texture, h, row + 0.5, 1, line, columns)
                    elif (row - first) % 2 == 0:
                        _sample(texture, h, row + 1.0, 2, line, (columns + 1) // 2)
                        for k in range(columns - 1, 0, -1):
                            line[k] = line[k >> 1]
                    k = row - top
                    _shade(&canvas[row, 0], line, columns, &gain[k, 0, 0], &veil[k, 0, 0], wide)
        finally:
            free(line)

    cdef void _to_texture(self, double* h, Py_ssize_t level) noexcept:
        """Turn a homography to the ground into one to the pixels of a level, counted from their middles."""
        cdef double scale = 1.0 / (self.resolution * (<Py_ssize_t> 1 << level))
        cdef Py_ssize_t k
        for k in range(3):
            h[k] = (h[k] - self.x0 * h[6 + k]) * scale - 0.5 * h[6 + k]
            h[3 + k] = (h[3 + k] - self.y0 * h[6 + k]) * scale - 0.5 * h[6 + k]


cdef void _sample(
    const uint32_t[:, ::1] texture, const double* h, double v, int step, uint32_t* line, Py_ssize_t count
) noexcept:
    """Samples of the texture along a row of the picture, ``step`` pixels apart.

    line: has room for three numbers for each sample; the samples come first.
    """
    cdef int k, many = <int> count  # ints can be converted to doubles several at a time
    cdef Py_ssize_t stride = texture.shape[1]
    cdef double most_x = 256.0 * (stride - 1) - 0.5, most_y = 256.0 * (texture.shape[0] - 1) - 0.5, scale
    cdef double first = 0.5 * step
    cdef double x = h[0] * first + h[1] * v + h[2], dx = h[0] * step
    cdef double y = h[3] * first + h[4] * v + h[5], dy = h[3] * step
    cdef double w = h[6] * first + h[7] * v + h[8], dw = h[6] * step
    cdef int32_t* at_x = <int32_t*> line + count
    cdef int32_t* at_y = at_x + count
    cdef const uint32_t* upper
    cdef const uint32_t* lower
    cdef const uint32_t* start = &texture[0, 0]
    cdef uint32_t right, down, both, rest, even, odd
    for k in range(many):  # in 1/256 of a pixel
        scale = 256.0 / (w + dw * k)
        at_x[k] = <int32_t> lesser(greater((x + dx * k) * scale, 0.0), most_x)
        at_y[k] = <int32_t> lesser(greater((y + dy * k) * scale, 0.0), most_y)
    for k in range(many):
        right, down = at_x[k] & 255, at_y[k] & 255
        upper = start + (at_y[k] >> 8) * stride + (at_x[k] >> 8)
        lower = upper + stride
        # Two channels at once: the weights add up to 256, so each sum fits into its 16 bits.
        both = right * down >> 8
        right, down = right - both, down - both
        rest = 256 - right - down - both
        even = (upper[0] & EVEN) * rest + (upper[1] & EVEN) * right
        even += (lower[0] & EVEN) * down + (lower[1] & EVEN) * both + HALVES
        odd = (upper[0] >> 8 & EVEN) * rest + (upper[1] >> 8 & EVEN) * right
        odd += (lower[0] >> 8 & EVEN) * down + (lower[1] >> 8 & EVEN) * both + HALVES
        line[k] = (even >> 8 & EVEN) | (odd & ~<uint32_t> EVEN)


cdef void _shade(
    uint32_t* pixels,
    const uint32_t* line,
    Py_ssize_t count,
    const uint16_t* gain,
    const uint16_t* veil,
    int wide,
) noexcept:
    """``line * gain / 256 + veil``, opaque.  Each pixel has its gain and veil ``wide`` numbers further."""
    cdef Py_ssize_t k
    cdef uint32_t blue, green, red, gain_b = gain[0], gain_g = gain[1], gain_r = gain[2]
    cdef uint32_t veil_b = veil[0], veil_g = veil[1], veil_r = veil[2]
    if not wide:
        for k in range(count):
            blue = ((line[k] & 255) * gain_b >> 8) + veil_b
            green = ((line[k] >> 8 & 255) * gain_g >> 8) + veil_g
            red = ((line[k] >> 16 & 255) * gain_r >> 8) + veil_r
            pixels[k] = blue | green << 8 | red << 16 | <uint32_t> 255 << 24
        return
    for k in range(count):
        blue = ((line[k] & 255) * gain[0] >> 8) + veil[0]
        green = ((line[k] >> 8 & 255) * gain[1] >> 8) + veil[1]
        red = ((line[k] >> 16 & 255) * gain[2] >> 8) + veil[2]
        pixels[k] = blue | green << 8 | red << 16 | <uint32_t> 255 << 24
        gain += wide
        veil += wide
