"""Streets drawn by lot, so that an agent learns to drive and not one town: ``random_town(seed)``.

The junctions are the points of a grid, each moved by some metres.  Neighbours are joined by streets that run
straight, bend once or wind twice, each with a radius of its own for its corners.  A draw that a real town
would not have is thrown away and the next one is taken: streets that come too close to each other, arms that
meet at too sharp an angle, traffic lights that let crossing streets go together.
"""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import combinations, pairwise

import networkx as nx

from tools.maps.network import (
    Network,
    Node,
    Piece,
    Point,
    Profile,
    Street,
    add_controllers,
    fillet,
    phase_of,
    towards,
)

COLUMNS = ROWS = 4
SPACING_M = 104.0
MOVED_M = 20.0
"""How far a junction may be moved, along each axis."""
REACH_M = 14.0
"""Distance from a junction's centre at which its streets end."""
SHARPEST_RAD = math.radians(65)
"""Smallest angle between two arms: the turn between them has an arc of 9 m, which a car can just drive."""
CROSSING_RAD = math.radians(115)
"""Arms that are closer to each other than this cross, so they are never green together."""
DRAWS = 2_000
"""Draws of a town before the seed is given up."""


def random_town(name: str, seed: int, lane: float) -> ET.Element:
    """Return the OpenDRIVE document of a town with lanes of ``lane`` metres.

    The same seed gives the same town.  Raises ``ValueError`` if no draw of this seed fits.
    """
    lot = random.Random(seed)
    profile = Profile(lane=lane, shoulder=0.4, sidewalk=2.0)
    for _ in range(DRAWS):
        drawn = _draw(lot, profile)
        if drawn is not None:
            nodes, streets = drawn
            network = Network(name, reach=REACH_M, profile=profile)
            root = network.build(nodes, streets)
            add_controllers(root, network.signals)
            return root
    raise ValueError(f"no town fits seed {seed}: take another one")


def _draw(lot: random.Random, profile: Profile) -> tuple[list[Node], list[Street]] | None:
    """One town, or None where it does not fit."""
    points = [
        (i * SPACING_M + lot.uniform(-MOVED_M, MOVED_M), j * SPACING_M + lot.uniform(-MOVED_M, MOVED_M))
        for i in range(COLUMNS)
        for j in range(ROWS)
    ]
    ways = _ways(lot)
    numbers = {old: new for new, old in enumerate(sorted({w[0] for w in ways} | {w[-1] for w in ways}))}
    nodes = [Node(points[old]) for old in numbers]
    streets: list[Street] = []
    courses: list[list[Point]] = []
    apart = 2 * (profile.lane + profile.shoulder + profile.sidewalk) + 2.0
    for way in ways:
        for _ in range(100):
            street = Street(
                numbers[way[0]],
                numbers[way[-1]],
                _bends(lot, [points[p] for p in way]),
                radius=lot.choice((12.0, 15.0, 20.0, 28.0, 40.0)),
            )
            course = _course(nodes, street)
            if course is not None and _fits(nodes, streets, courses, street, course, apart):
                streets.append(street)
                courses.append(course)
                break
        else:
            return None
    arms = [sum(number in (s.a, s.b) for s in streets) for number in range(len(nodes))]
    for node, number in zip(nodes, arms, strict=True):
        node.signals = number == 4 or (number == 3 and lot.random() < 0.3)
    if any(node.signals and _lights_conflict(nodes, streets, n) for n, node in enumerate(nodes)):
        return None
    return nodes, streets


def _lights_conflict(nodes: Sequence[Node], streets: Sequence[Street], junction: int) -> bool:
    """Whether two arms of a junction with lights cross and are green together."""
    arms = [_arm(nodes, street, junction) for street in streets if junction in (street.a, street.b)]
    return any(
        phase_of(one) == phase_of(other) and _between(one, other) < CROSSING_RAD
        for one, other in combinations(arms, 2)
    )


def _ways(lot: random.Random) -> list[list[int]]:
    """The streets, each as the points of the grid that it passes: its ends are junctions, the others corners.

    They are all of the grid's but three, and no street is the only way to anywhere.
    """
    grid = nx.grid_2d_graph(COLUMNS, ROWS)
    edges = sorted(grid.edges)
    lot.shuffle(edges)
    left_out = 0
    for edge in edges:
        grid.remove_edge(*edge)
        if left_out < 3 and nx.is_biconnected(grid):
            left_out += 1
        else:
            grid.add_edge(*edge)
    ways = []
    for start in sorted(p for p in grid if grid.degree(p) > 2):
        for step in sorted(grid[start]):
            way = [start, step]
            while grid.degree(way[-1]) == 2:
                way.append(next(p for p in sorted(grid[way[-1]]) if p != way[-2]))
            if way[0] < way[-1]:  # each is found from both of its ends
                ways.append([i * ROWS + j for i, j in way])
    return ways


def _bends(lot: random.Random, points: Sequence[Point]) -> tuple[Point, ...]:
    """Corners of a street through ``points``: between two of them it runs straight, bends once or winds."""
    via: list[Point] = []
    for (ax, ay), (bx, by) in pairwise(points):
        length = math.hypot(bx - ax, by - ay)
        bends = lot.choice((0, 1, 1, 2, 2))
        side = lot.choice((-1, 1))
        for share, offset in {
            0: (),
            1: ((lot.uniform(0.35, 0.65), lot.uniform(8, 32)),),
            2: (
                (lot.uniform(0.30, 0.42), lot.uniform(6, 22)),
                (lot.uniform(0.58, 0.70), -lot.uniform(6, 22)),
            ),
        }[bends]:
            aside = side * offset / length
            via.append(
                (ax + share * (bx - ax) - aside * (by - ay), ay + share * (by - ay) + aside * (bx - ax))
            )
        via.append((bx, by))
    return tuple(via[:-1])


def _course(nodes: Sequence[Node], street: Street) -> list[Point] | None:
    """Points along a street, some 4 m apart, or None where its corners do not fit between its ends."""
    points = [nodes[street.a].centre, *street.via, nodes[street.b].centre]
    points[0] = towards(points[0], points[1], REACH_M)
    points[-1] = towards(points[-1], points[-2], REACH_M)
    try:
        pieces = fillet(points, street.radius)
    except ValueError:
        return None
    course = [points[0]]
    for piece in pieces:
        steps = max(1, round(piece.length / 4))
        for step in range(1, steps + 1):
            part = Piece(piece.x, piece.y, piece.heading, piece.length * step / steps, piece.curvature)
            course.append(part.end()[:2])
    return course


def _fits(
    nodes: Sequence[Node],
    streets: Sequence[Street],
    courses: Sequence[Sequence[Point]],
    street: Street,
    course: Sequence[Point],
    apart: float,
) -> bool:
    """Whether a street keeps its distance from the junctions and streets that are not its own."""
    for number, node in enumerate(nodes):
        if number not in (street.a, street.b) and _distance([node.centre], course) < REACH_M + apart:
            return False
    for other, its_course in zip(streets, courses, strict=True):
        shared = {street.a, street.b} & {other.a, other.b}
        if not shared:
            if _distance(course, its_course) < apart:
                return False
            continue
        for junction in shared:
            if _between(_arm(nodes, street, junction), _arm(nodes, other, junction)) < SHARPEST_RAD:
                return False
        # Near a junction of both they have to be close to each other.
        near = REACH_M + apart
        beyond = [p for p in course if all(math.dist(p, nodes[n].centre) > near for n in shared)]
        if _distance(beyond, its_course) < apart:
            return False
    return True


def _arm(nodes: Sequence[Node], street: Street, junction: int) -> float:
    """Direction in which a street leaves a junction."""
    here, course = nodes[junction].centre, [nodes[street.a].centre, *street.via, nodes[street.b].centre]
    x, y = course[1] if junction == street.a else course[-2]
    return math.atan2(y - here[1], x - here[0])


def _between(one: float, other: float) -> float:
    """The angle between two directions, 0 to pi."""
    angle = abs(one - other)
    return min(angle, 2 * math.pi - angle)


def _distance(some: Sequence[Point], others: Sequence[Point]) -> float:
    return min((math.dist(p, q) for p in some for q in others), default=math.inf)
