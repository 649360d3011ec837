"""The server's own pedestrians, for clients that do not run a crowd themselves.

They walk on the navigation mesh from polygon to polygon.  Each pedestrian walks to a point on the edge to
the next polygon.  How far left or right that point is differs from one pedestrian to another.  Polygons
are convex, so the straight way to the point lies on the mesh.  The next polygon is drawn at random.  At a
crossing a pedestrian waits at the kerb until no vehicle would come near while it crosses; after a while
it only waits until none is close.

The steps of a tick are computed for all at once; what happens at an edge is done one by one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import VEHICLE, Bodies
from minicarla.maps.navmesh import WALKED, Area, NavMesh

Floats = NDArray[np.float64]

SPEEDS = 1.1, 1.6
"""Least and greatest walking speed, m/s; each pedestrian has its own."""
SIDES = 0.15, 0.85
"""Where they cross an edge, from 0 (left end) to 1 (right end): limits within which each has its place."""
TO_CROSS = 0.35
"""Probability of crossing a street where that is possible."""
CLEAR = 2.5  # metres between a vehicle's end and the way of somebody who crosses
TURNING = 16.0  # metres within which a vehicle that does not drive away keeps a pedestrian waiting
PATIENCE = 15.0  # s at the kerb after which a pedestrian crosses before vehicles that can still brake
BRAKE_TIME = 2.5  # s that such a vehicle needs at least to come near
LOOK_EVERY = 0.5  # s
BODY = 0.3  # metres around a vehicle where there is no room for a pedestrian
REACH = 0.7  # metres that a pedestrian looks ahead on the road
STANDING = 0.3  # m/s up to which a vehicle counts as standing, and is walked around
STUCK = 3.0  # s without progress after which a pedestrian turns back
_COLUMNS = 7


def places(mesh: NavMesh, count: int, seed: int) -> list[tuple[float, float, float]]:
    """``count`` points (x, y, z) on the ground of sidewalks, spread evenly."""
    draw = np.random.default_rng([seed, 3])
    corners, sizes = [], []
    for loop, area in zip(mesh.polygons, mesh.areas, strict=True):
        for k in range(2, len(loop)) if area is Area.SIDEWALK else ():
            triangle = mesh.vertices[[loop[0], loop[k - 1], loop[k]]]
            (ax, ay, _), (bx, by, _) = triangle[1:] - triangle[0]
            corners.append(triangle)
            sizes.append(abs(ax * by - ay * bx))
    chosen = np.array(corners)[draw.choice(len(corners), count, p=np.array(sizes) / sum(sizes))]
    u, v = draw.uniform(size=(2, count, 1))
    folded = u + v > 1.0
    u, v = np.where(folded, 1.0 - u, u), np.where(folded, 1.0 - v, v)
    points = chosen[:, 0] + u * (chosen[:, 1] - chosen[:, 0]) + v * (chosen[:, 2] - chosen[:, 0])
    return [(x, y, z) for x, y, z in points.tolist()]


@dataclass
class _Pedestrian:
    actor_id: int
    random: random.Random
    side: float
    speed: float
    at: int = -1  # polygon where it is; -1: not known yet
    came: int = -1  # polygon where it came from; -1: it set out here
    to: int = -1  # polygon beyond the edge that it goes to
    waited: float = 0.0  # s at the kerb


class Pedestrians:
    """The server's own pedestrians.

    Args:
        mesh: where they walk.
        seed: of where they turn and how fast they are.
    """

    def __init__(self, mesh: NavMesh, seed: int) -> None:
        self._mesh, self._seed = mesh, seed
        self._ways: list[dict[int, int]] = [  # number of the edge to each neighbour that is walked on
            {other: k for k, other in enumerate(beyond) if other >= 0 and mesh.areas[other] in WALKED}
            for beyond in mesh.neighbours
        ]
        self._people: list[_Pedestrian] = []
        self._new: list[int] = []
        # A row for each pedestrian: target x and y, speed in m/s, seconds to wait, metres left to the
        # target, seconds without progress, whether it is on a crossing.
        self._rows = np.zeros((0, _COLUMNS))

    def __len__(self) -> int:
        return len(self._people) + len(self._new)

    def add(self, actor_id: int) -> None:
        """Let this walker walk by itself from the next :meth:`decide` on."""
        self._new.append(actor_id)

    def remove(self, actor_id: int) -> None:
        """Stop moving this walker; nothing happens if it was not moved here."""
        if actor_id in self._new:
            self._new.remove(actor_id)
        for index, person in enumerate(self._people):
            if person.actor_id == actor_id:
                del self._people[index]
                self._rows = np.delete(self._rows, index, 0)
                break

    def decide(self, bodies: Bodies, dt: float) -> None:
        """Set where each walks and how fast, for the next ``dt`` seconds."""
        if self._new:
            self._admit(bodies)
        if not self._people:
            return
        rows = np.array([bodies.row(person.actor_id) for person in self._people])
        state = self._rows
        speed, wait = state[:, 2], state[:, 3]
        way = state[:, :2] - bodies.position[rows, :2]
        left = np.hypot(way[:, 0], way[:, 1])
        wait -= dt
        walking = wait <= 0.0
        step = speed * dt
        state[:, 5] = np.where(walking & (state[:, 4] - left < 0.2 * step), state[:, 5] + dt, 0.0)
        state[:, 4] = left
        due = (left <= 0.5 * step) | (state[:, 5] > STUCK) | (~walking & (wait <= dt))
        if np.count_nonzero(due):
            for k in np.flatnonzero(due).tolist():
                self._turn(k, bodies, rows[k])
            walking = wait <= 0.0
            way = state[:, :2] - bodies.position[rows, :2]
            left = np.hypot(way[:, 0], way[:, 1])
        bodies.walk_direction[rows, :2] = way / np.maximum(left, 1e-9)[:, None]
        bodies.walk_direction[rows, 2] = 0.0
        # The last step is no longer than what is left.
        bodies.walk_speed[rows] = np.where(walking, np.minimum(speed, left / dt), 0.0)
        crossing = np.flatnonzero(state[:, 6])
        if len(crossing):
            self._mind_vehicles(bodies, rows[crossing])

    @staticmethod
    def _mind_vehicles(bodies: Bodies, rows: NDArray[np.int64]) -> None:
        """Keep pedestrians on the road from walking into vehicles: let those pass, or walk around them."""
        vehicles = np.flatnonzero(bodies.kind == VEHICLE)
        if not len(vehicles):
            return
        yaw = np.radians(bodies.rotation[vehicles, 1])
        turn = np.exp(-1j * yaw)
        centre = bodies.centre[vehicles, 0] + 1j * bodies.centre[vehicles, 1]
        half = bodies.extent[vehicles, :2] + BODY
        place = bodies.position[rows, 0] + 1j * bodies.position[rows, 1]
        ahead = REACH * (bodies.walk_direction[rows, 0] + 1j * bodies.walk_direction[rows, 1])
        origin = bodies.position[vehicles, 0] + 1j * bodies.position[vehicles, 1]

        near = (place[:, None] - origin) * turn - centre  # in each vehicle's frame
        far = near + ahead[:, None] * turn

        def inside(points: NDArray[np.complex128]) -> NDArray[np.bool_]:
            return np.asarray((np.abs(points.real) < half[:, 0]) & (np.abs(points.imag) < half[:, 1]))

        for k, v in np.argwhere(inside(far) & ~inside(near)).tolist():
            row, vehicle = rows[k], vehicles[v]
            if np.hypot(*bodies.velocity[vehicle, :2]) > STANDING:
                bodies.walk_speed[row] = 0.0
                continue
            # Along the side of the vehicle, in the direction in which the pedestrian wants to go.
            wish = far[k, v] - near[k, v]
            if abs(near[k, v].real) >= half[v, 0]:
                along = 1j * math.copysign(1.0, wish.imag)
            else:
                along = complex(math.copysign(1.0, wish.real))
            along *= turn[v].conjugate()
            bodies.walk_direction[row, :2] = along.real, along.imag

    # ------------------------------------------------------------------ one by one

    def _admit(self, bodies: Bodies) -> None:
        for actor_id in self._new:
            # Seeded by the place in the table, not by the actor's id, as drivers are.
            draw = random.Random(self._seed * 1_000_003 + len(self._people))
            person = _Pedestrian(actor_id, draw, draw.uniform(*SIDES), draw.uniform(*SPEEDS))
            self._people.append(person)
            self._rows = np.concatenate([self._rows, np.zeros((1, _COLUMNS))])
            x, y, _ = bodies.position[bodies.row(actor_id)].tolist()
            person.at = self._mesh.nearest(x, y)
            self._go(len(self._people) - 1)
        self._new.clear()

    def _turn(self, k: int, bodies: Bodies, row: np.int64) -> None:
        """Decide for a pedestrian that has come to an edge, waits there, or makes no progress."""
        person, state = self._people[k], self._rows[k]
        if state[5] > STUCK:
            state[5] = person.waited = 0.0
            if person.to < 0:
                return  # there is no other way
            person.came = person.to  # so that it does not choose the same way again
            self._go(k)
            return
        if person.to >= 0 and self._mesh.areas[person.to] is Area.CROSSWALK:
            on_road = self._mesh.areas[person.at] is Area.CROSSWALK
            if not on_road and not self._may_cross(person, bodies, row):
                person.waited += LOOK_EVERY
                state[3] = LOOK_EVERY
                return
        person.waited = 0.0
        state[3] = 0.0
        if person.to >= 0:
            person.came, person.at = person.at, person.to
        self._go(k)

    def _go(self, k: int) -> None:
        """Choose the next polygon, and where to cross the edge to it."""
        person, mesh = self._people[k], self._mesh
        ways = self._ways[person.at]
        onward = [other for other in ways if other != person.came]
        crossings = [other for other in onward if mesh.areas[other] is Area.CROSSWALK]
        straight = [other for other in onward if mesh.areas[other] is not Area.CROSSWALK]
        if crossings and mesh.areas[person.at] is Area.CROSSWALK:
            choice = crossings  # to the other side first
        elif crossings and (not straight or person.random.random() < TO_CROSS):
            choice = crossings
        else:
            choice = straight or list(ways)
        loop = mesh.polygons[person.at]
        if choice:
            person.to = choice[person.random.randrange(len(choice))]
            edge = ways[person.to]
            a, b = mesh.vertices[loop[edge]], mesh.vertices[loop[(edge + 1) % len(loop)]]
            target = a + person.side * (b - a)
        else:
            person.to, target = -1, mesh.vertices[list(loop)].mean(0)
        self._rows[k, :3] = target[0], target[1], person.speed
        self._rows[k, 4] = np.inf
        self._rows[k, 6] = mesh.areas[person.at] is Area.CROSSWALK

    def _may_cross(self, person: _Pedestrian, bodies: Bodies, row: np.int64) -> bool:
        """Whether no vehicle comes near while it crosses, if all go on as they move now."""
        vehicles = np.flatnonzero(bodies.kind == VEHICLE)
        if not len(vehicles):
            return True
        start = bodies.position[row, :2]
        end = self._far_side(person)
        way = end - start
        length = math.hypot(*way.tolist())
        patient = person.waited < PATIENCE
        ahead = length / person.speed + 1.0 if patient else BRAKE_TIME
        t = np.linspace(0.0, ahead, 1 + math.ceil(ahead / 0.5))
        place = bodies.position[vehicles, None, :2] + bodies.velocity[vehicles, None, :2] * t[:, None]
        offset = place - start
        share = np.clip((offset * way).sum(2) / max(length * length, 1e-6), 0.0, 1.0)
        away = np.hypot(*(offset - share[..., None] * way).transpose(2, 0, 1))
        if (away < CLEAR + bodies.extent[vehicles, 0, None]).any():
            return False
        if not patient:
            return True
        # A vehicle in the junction beside may still turn this way.
        nearest = offset[:, 0] - share[:, :1] * way
        velocity = bodies.velocity[vehicles, :2]
        speed = np.hypot(velocity[:, 0], velocity[:, 1])
        coming = (velocity * nearest).sum(1) < 0.5 * speed * away[:, 0]
        return not bool((coming & (speed > 1.0) & (away[:, 0] < TURNING)).any())

    def _far_side(self, person: _Pedestrian) -> Floats:
        """The end of the crossing that it is about to enter (2,)."""
        mesh, at, came = self._mesh, person.to, person.at
        for _ in range(16):
            onward = [other for other in self._ways[at] if other != came]
            if mesh.areas[at] is not Area.CROSSWALK or not onward:
                break
            further = [other for other in onward if mesh.areas[other] is Area.CROSSWALK]
            at, came = (further or onward)[0], at
        loop = list(mesh.polygons[came])
        edge = self._ways[came].get(at)
        corners = loop if edge is None else [loop[edge], loop[(edge + 1) % len(loop)]]
        return np.asarray(mesh.vertices[corners, :2].mean(0))
