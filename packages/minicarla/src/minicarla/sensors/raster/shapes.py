"""The shapes of vehicles, walkers, houses, trees, lights and signs.

A shape consists of convex parts that are stacked in height.  The faces of a part are flat.
Details (windows, lamps, wheels) are quadrilaterals that lie on a face and are drawn just after
it.  Coordinates are in units of the bounding box's half sizes, so a shape fills its box and
never reaches beyond it.
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import StaticBox
from minicarla.sensors.tags import Tag
from minicarla.sensors.things import LIGHT_HEAD, SIGN_PLATE

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Role(IntEnum):
    """What a quadrilateral is made of; PAINT takes the box's own colour."""

    PAINT = 0
    GLASS = 1
    DARK = 2
    TAIL_LAMP = 3
    HEAD_LAMP = 4
    SHADOW = 5
    SKIN = 6
    TROUSERS = 7
    PLATE = 8
    WINDOW = 9
    ROOF = 10
    TRIM = 11
    LAMP = 12
    LEAVES_TOP = 13
    CHROME = 14
    WINDOW_BAND = 15
    RED_LAMP = 16
    YELLOW_LAMP = 17
    GREEN_LAMP = 18


# Role -> BGR albedo, then the BGR light that the material emits by day and at night.
_MATERIAL: dict[Role, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    Role.GLASS: ((74, 64, 56), (0, 0, 0), (0, 0, 0)),
    Role.DARK: ((34, 32, 32), (0, 0, 0), (0, 0, 0)),
    Role.TAIL_LAMP: ((40, 30, 190), (6, 4, 30), (20, 10, 170)),
    Role.HEAD_LAMP: ((215, 220, 220), (30, 30, 30), (190, 215, 230)),
    Role.SHADOW: ((40, 39, 38), (0, 0, 0), (0, 0, 0)),
    Role.SKIN: ((120, 150, 196), (0, 0, 0), (0, 0, 0)),
    Role.TROUSERS: ((78, 58, 48), (0, 0, 0), (0, 0, 0)),
    Role.PLATE: ((200, 205, 205), (0, 0, 0), (0, 0, 0)),
    Role.WINDOW: ((104, 88, 72), (0, 0, 0), (40, 92, 120)),
    Role.WINDOW_BAND: ((128, 112, 98), (0, 0, 0), (20, 46, 60)),
    Role.RED_LAMP: ((30, 20, 120), (20, 10, 235), (20, 10, 235)),
    Role.YELLOW_LAMP: ((20, 110, 120), (10, 190, 240), (10, 190, 240)),
    Role.GREEN_LAMP: ((60, 110, 20), (120, 235, 30), (120, 235, 30)),
    Role.ROOF: ((74, 74, 92), (0, 0, 0), (0, 0, 0)),
    Role.TRIM: ((150, 150, 150), (0, 0, 0), (0, 0, 0)),
    Role.LAMP: ((190, 200, 205), (0, 0, 0), (130, 205, 250)),
    Role.LEAVES_TOP: ((52, 128, 84), (0, 0, 0), (0, 0, 0)),
    Role.CHROME: ((120, 118, 116), (0, 0, 0), (0, 0, 0)),
}
ALBEDO = np.zeros((len(Role), 3))
GLOW_DAY = np.zeros((len(Role), 3))
GLOW_NIGHT = np.zeros((len(Role), 3))
for _role, (_albedo, _day, _night) in _MATERIAL.items():
    ALBEDO[_role], GLOW_DAY[_role], GLOW_NIGHT[_role] = _albedo, _day, _night

# From this many pixels per metre, houses show single windows, and tree crowns are drawn in two parts.
_FINE_HOUSE = 12.0
_FINE_CROWN = 6.0

# Corner numbers: bit 0 is +x, bit 1 is +y, bit 2 is +z.
FRONT, BACK, RIGHT, LEFT, TOP, BOTTOM = range(6)
_FACES = ((1, 3, 7, 5), (0, 4, 6, 2), (2, 6, 7, 3), (0, 1, 5, 4), (4, 5, 7, 6), (0, 2, 3, 1))


class Shape(NamedTuple):
    """Q quadrilaterals over V vertices, in units of the half sizes of a box."""

    vertices: Array  # (V, 3)
    quads: Ints  # (Q, 4) vertices
    base: Ints  # (Q,) number of the quadrilateral whose plane decides whether this one faces the viewer
    role: Ints  # (Q,)
    part_low: Array  # (Q,) height of the part's floor, unit coordinates
    part_high: Array  # (Q,) height of its ceiling
    layer: Ints  # (Q,) 0 for faces; details have 1 and more and are drawn in this order
    least: Array  # (Q,) left out below this many pixels per metre
    most: Array  # (Q,) replaced by finer ones from this many pixels per metre


class _ShapeBuilder:
    def __init__(self) -> None:
        self.vertices: list[tuple[float, float, float]] = []
        self.rows: list[tuple[list[int], int, int, float, float, int, float, float]] = []
        self.corners: list[tuple[float, float, float]] = []
        self.first = 0
        self.low = self.high = 0.0

    def hexahedron(
        self,
        low: tuple[float, float, float, float],
        high: tuple[float, float, float, float],
        z: tuple[float, float],
        roles: Role | dict[int, Role],
        least: float = 0.0,
        most: float = math.inf,
        bottom: bool = False,
        drop: float = 0.0,
    ) -> None:
        """A part with rectangular floor and ceiling: (x0, x1, y0, y1) at z[0] and at z[1].

        drop: how much lower the ceiling is in front.
        """
        base = len(self.vertices)
        self.corners = [
            (r[k & 1], r[2 + (k >> 1 & 1)], z[k >> 2]) for k in range(8) for r in ((low, high)[k >> 2],)
        ]
        if drop:
            self.corners = [
                (x, y, z - drop) if k in (5, 7) else (x, y, z) for k, (x, y, z) in enumerate(self.corners)
            ]
        self.vertices += self.corners
        self.low, self.high = z
        self.first = len(self.rows)
        for face in range(6 if bottom else 5):
            role = roles if isinstance(roles, Role) else roles.get(face, roles.get(-1, Role.PAINT))
            at = len(self.rows)
            self.rows.append(([base + k for k in _FACES[face]], at, role, *z, 0, least, most))

    def detail(
        self,
        face: int,
        points: list[tuple[float, float, float]],
        role: Role,
        least: float,
        layer: int = 1,
        most: float = math.inf,
    ) -> None:
        """Four points in the plane of ``face`` of the last part."""
        at = len(self.vertices)
        self.vertices += points
        quad = [at, at + 1, at + 2, at + 3]
        self.rows.append((quad, self.first + face, role, self.low, self.high, layer, least, most))

    def patch(
        self,
        face: int,
        s: tuple[float, float],
        t: tuple[float, float],
        role: Role,
        least: float,
        layer: int = 1,
        most: float = math.inf,
    ) -> None:
        """A rectangle on a side face: s from 0 to 1 along it (left to right from outside), t upwards."""
        # bottom left, bottom right, top left, top right as seen from outside
        order = {FRONT: (3, 1, 7, 5), BACK: (0, 2, 4, 6), RIGHT: (2, 3, 6, 7), LEFT: (1, 0, 5, 4)}[face]
        bl, br, tl, tr = (np.array(self.corners[k]) for k in order)

        def at(u: float, v: float) -> tuple[float, float, float]:
            point = (bl * (1 - u) + br * u) * (1 - v) + (tl * (1 - u) + tr * u) * v
            return (float(point[0]), float(point[1]), float(point[2]))

        corners = [at(s[0], t[0]), at(s[1], t[0]), at(s[1], t[1]), at(s[0], t[1])]
        self.detail(face, corners, role, least, layer, most)

    def shape(self) -> Shape:
        quads, base, role, low, high, layer, least, most = zip(*self.rows, strict=True)
        return Shape(
            np.array(self.vertices),
            np.array(quads, np.int64),
            np.array(base, np.int64),
            np.array(role, np.int64),
            np.array(low),
            np.array(high),
            np.array(layer, np.int64),
            np.array(least),
            np.array(most),
        )


def _shadow(builder: _ShapeBuilder, x: float = 1.0, y: float = 1.0) -> None:
    """A dark patch on the ground under the box.  It is drawn first and belongs to the box's object."""
    at = len(builder.vertices)
    z = -1.0
    builder.vertices += [(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)]
    row = ([at, at + 1, at + 2, at + 3], len(builder.rows), Role.SHADOW, -1.5, z, 0, 2.5, math.inf)
    builder.rows.append(row)


def _wheel(builder: _ShapeBuilder, face: int, x: float, radius: tuple[float, float], least: float) -> None:
    """A wheel on a side face, approximated by three rectangles; radius in units along x and z."""
    y = 1.0 if face == RIGHT else -1.0
    rx, rz = radius
    z = -1.0 + rz
    for a, b in ((0.94, 0.45), (0.45, 1.0), (0.76, 0.76)):
        points = [(x - a * rx, y, z - b * rz), (x + a * rx, y, z - b * rz)]
        points += [(x + a * rx, y, z + b * rz), (x - a * rx, y, z + b * rz)]
        builder.detail(face, points, Role.DARK, least, 2)
    hub = [(x - 0.45 * rx, y, z - 0.45 * rz), (x + 0.45 * rx, y, z - 0.45 * rz)]
    hub += [(x + 0.45 * rx, y, z + 0.45 * rz), (x - 0.45 * rx, y, z + 0.45 * rz)]
    builder.detail(face, hub, Role.CHROME, max(least, 12.0), 3)


def _ends(builder: _ShapeBuilder, lamp: tuple[float, float], sill: float) -> None:
    """Lamps, number plates and bumpers on the front and back of the last part."""
    for face, role in ((BACK, Role.TAIL_LAMP), (FRONT, Role.HEAD_LAMP)):
        builder.patch(face, (0.0, 1.0), (0.0, sill), Role.DARK, 4.0)
        builder.patch(face, (0.04, 0.27), lamp, role, 3.0, 2)
        builder.patch(face, (0.73, 0.96), lamp, role, 3.0, 2)
        builder.patch(face, (0.38, 0.62), (sill + 0.06, sill + 0.2), Role.PLATE, 14.0, 2)
        y0, y1 = (-0.92, -0.62), (0.62, 0.92)
        x = -1.0 if face == BACK else 1.0
        for a, b in (y0, y1):  # tyres below the bumper
            points = [(x, a, -1.0), (x, b, -1.0), (x, b, builder.low), (x, a, builder.low)]
            builder.detail(face, points, Role.DARK, 5.0)


@cache
def car() -> Shape:
    """A saloon: hull, cabin, wheels, lamps."""
    b = _ShapeBuilder()
    _shadow(b)
    b.hexahedron((-1, 1, -1, 1), (-0.98, 0.97, -0.96, 0.96), (-0.72, 0.12), {-1: Role.PAINT}, drop=0.2)
    _ends(b, (0.56, 0.84), 0.3)
    for face in (RIGHT, LEFT):
        b.patch(face, (0.0, 1.0), (0.0, 0.2), Role.DARK, 6.0)
        for x in (-0.6, 0.62):
            _wheel(b, face, x, (0.145, 0.46), 4.0)
    b.hexahedron(
        (-0.8, 0.42, -0.94, 0.94), (-0.5, 0.02, -0.72, 0.72), (0.12, 1.0), {-1: Role.GLASS, TOP: Role.PAINT}
    )
    for face in (RIGHT, LEFT):  # pillars
        for s in ((0.0, 0.05), (0.46, 0.54), (0.95, 1.0)):
            b.patch(face, s, (0.0, 1.0), Role.PAINT, 9.0)
    for face in (FRONT, BACK):
        for s in ((0.0, 0.05), (0.95, 1.0)):
            b.patch(face, s, (0.0, 1.0), Role.PAINT, 14.0)
    return b.shape()


@cache
def van() -> Shape:
    """A high box on wheels with a windscreen: vans, ambulances, trucks."""
    b = _ShapeBuilder()
    _shadow(b)
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (-0.76, 0.0), {-1: Role.PAINT})
    _ends(b, (0.5, 0.75), 0.25)
    for face in (RIGHT, LEFT):
        b.patch(face, (0.0, 1.0), (0.0, 0.16), Role.DARK, 6.0)
        for x in (-0.62, 0.68):
            _wheel(b, face, x, (0.13, 0.3), 4.0)
    b.hexahedron((-1, 1, -1, 1), (-0.99, 0.82, -0.94, 0.94), (0.0, 1.0), {-1: Role.PAINT})
    b.patch(FRONT, (0.06, 0.94), (0.08, 0.86), Role.GLASS, 0.0)
    b.patch(BACK, (0.12, 0.88), (0.2, 0.75), Role.GLASS, 2.0)
    b.patch(RIGHT, (0.72, 0.95), (0.1, 0.8), Role.GLASS, 2.0)
    b.patch(LEFT, (0.05, 0.28), (0.1, 0.8), Role.GLASS, 2.0)
    return b.shape()


@cache
def bus() -> Shape:
    """A bus: one long band of windows."""
    b = _ShapeBuilder()
    _shadow(b)
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (-0.84, 0.0), {-1: Role.PAINT})
    _ends(b, (0.4, 0.62), 0.2)
    for face in (RIGHT, LEFT):
        for x in (-0.55, 0.62):
            _wheel(b, face, x, (0.09, 0.28), 4.0)
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (0.0, 1.0), {-1: Role.PAINT})
    for face in (RIGHT, LEFT):
        b.patch(face, (0.03, 0.97), (0.1, 0.7), Role.GLASS, 0.0)
    for face in (FRONT, BACK):
        b.patch(face, (0.05, 0.95), (0.05, 0.75), Role.GLASS, 0.0)
    return b.shape()


@cache
def two_wheeler() -> Shape:
    """A bicycle or motorcycle with its rider."""
    b = _ShapeBuilder()
    _shadow(b, 0.95, 0.6)
    b.hexahedron(
        (-1, 1, -0.22, 0.22), (-0.96, 0.9, -0.22, 0.22), (-1.0, -0.12), {-1: Role.DARK, TOP: Role.PAINT}
    )
    for face in (RIGHT, LEFT):
        b.patch(face, (0.3, 0.7), (0.35, 0.95), Role.PAINT, 3.0)
    b.hexahedron((-0.5, 0.25, -1.0, 1.0), (-0.3, 0.2, -0.8, 0.8), (-0.12, 0.6), {-1: Role.TROUSERS})
    b.hexahedron((-0.22, 0.16, -0.42, 0.42), (-0.2, 0.14, -0.4, 0.4), (0.6, 1.0), {-1: Role.SKIN})
    return b.shape()


@cache
def walker() -> Shape:
    """Legs, torso, head."""
    b = _ShapeBuilder()
    _shadow(b, 0.9, 0.9)
    b.hexahedron((-0.55, 0.55, -0.75, 0.75), (-0.6, 0.6, -0.8, 0.8), (-1.0, -0.08), {-1: Role.TROUSERS})
    b.hexahedron((-0.8, 0.8, -1.0, 1.0), (-0.7, 0.7, -0.95, 0.95), (-0.08, 0.66), {-1: Role.PAINT})
    b.hexahedron((-0.5, 0.5, -0.45, 0.45), (-0.45, 0.45, -0.4, 0.4), (0.66, 1.0), {-1: Role.SKIN}, 2.0)
    return b.shape()


@cache
def box() -> Shape:
    """The bare box."""
    b = _ShapeBuilder()
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (-1.0, 1.0), Role.PAINT, bottom=True)
    return b.shape()


@cache
def crown() -> Shape:
    """A tree's crown: two truncated pyramids, the upper one with a lighter top; from afar only one."""
    b = _ShapeBuilder()
    wide, narrow = (-1.0, 1.0, -1.0, 1.0), (-0.5, 0.5, -0.5, 0.5)
    roles = {-1: Role.PAINT, TOP: Role.LEAVES_TOP}
    b.hexahedron((-0.62, 0.62, -0.62, 0.62), wide, (-1.0, -0.35), Role.PAINT, _FINE_CROWN, bottom=True)
    b.hexahedron(wide, narrow, (-0.35, 1.0), roles, _FINE_CROWN)
    b.hexahedron((-0.9, 0.9, -0.9, 0.9), (-0.6, 0.6, -0.6, 0.6), (-1.0, 1.0), roles, 0.0, _FINE_CROWN, True)
    return b.shape()


@cache
def traffic_light(state: int) -> Shape:
    """A pole with a head of three lamps towards +x; ``state`` says which is lit."""
    b = _ShapeBuilder()
    pole = (-0.25, 0.25, -0.25, 0.25)
    b.hexahedron(pole, pole, (-1.0, LIGHT_HEAD), {-1: Role.CHROME})
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (LIGHT_HEAD, 1.0), Role.PAINT, bottom=True)
    lit = {0: Role.RED_LAMP, 1: Role.YELLOW_LAMP, 2: Role.GREEN_LAMP}
    for place in range(3):
        role = lit[place] if state == place else Role.DARK
        low = (2 - place) / 3.0
        b.patch(FRONT, (0.12, 0.88), (low + 0.04, low + 0.29), role, 1.0)
    return b.shape()


@cache
def traffic_sign() -> Shape:
    """A pole with a square plate across x."""
    b = _ShapeBuilder()
    pole = (-1.0, 1.0, -0.1, 0.1)
    b.hexahedron(pole, pole, (-1.0, SIGN_PLATE), {-1: Role.CHROME})
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (SIGN_PLATE, 1.0), Role.PAINT, bottom=True)
    return b.shape()


@cache
def house(bays_x: int, bays_y: int, storeys: int) -> Shape:
    """A building with rows of windows; bays along x and y."""
    b = _ShapeBuilder()
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (-1.0, 1.0), {-1: Role.PAINT, TOP: Role.ROOF})
    for face, bays in ((FRONT, bays_y), (BACK, bays_y), (RIGHT, bays_x), (LEFT, bays_x)):
        b.patch(face, (0.0, 1.0), (0.0, 0.16 / storeys), Role.TRIM, _FINE_HOUSE)
        for storey in range(storeys):
            t = ((storey + 0.3) / storeys, (storey + 0.78) / storeys)
            edge = 0.25 / bays
            b.patch(face, (edge, 1.0 - edge), t, Role.WINDOW_BAND, 2.5, 1, _FINE_HOUSE)
            for bay in range(bays):
                s = ((bay + 0.25) / bays, (bay + 0.75) / bays)
                b.patch(face, s, t, Role.WINDOW, _FINE_HOUSE)
    return b.shape()


def static_shape(static: StaticBox) -> Shape:
    """Shape of a ``StaticBox`` by its kind."""
    if static.kind == "building":
        ex, ey, ez = (float(v) for v in static.extent)
        return house(max(1, round(2 * ex / 4.0)), max(1, round(2 * ey / 4.0)), max(1, round(2 * ez / 3.3)))
    if static.kind == "crown":
        return crown()
    if static.kind == "lamp":
        return _lamp()
    return box()


@cache
def _lamp() -> Shape:
    b = _ShapeBuilder()
    roles = {-1: Role.CHROME, BOTTOM: Role.LAMP}
    b.hexahedron((-1, 1, -1, 1), (-1, 1, -1, 1), (-1.0, 1.0), roles, bottom=True)
    return b.shape()


_BY_TAG = {
    int(Tag.TRUCK): van,
    int(Tag.BUS): bus,
    int(Tag.MOTORCYCLE): two_wheeler,
    int(Tag.BICYCLE): two_wheeler,
    int(Tag.PEDESTRIANS): walker,
    int(Tag.CAR): car,
    int(Tag.RIDER): two_wheeler,
}


def body_shape(tag: int, extent: Array, look: int = 0) -> Shape:
    """Shape of a row of ``Bodies`` (tall cars are vans) or of another thing."""
    if tag == Tag.TRAFFIC_LIGHT:
        return traffic_light(look)
    if tag == Tag.TRAFFIC_SIGNS:
        return traffic_sign()
    if tag == Tag.CAR and float(extent[2]) > 0.98:
        return van()
    return _BY_TAG.get(tag, box)()
