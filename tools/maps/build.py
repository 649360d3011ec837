"""Makes the bundled maps: ``python -m tools.maps.build`` rewrites ``data/*.xodr`` of ``minicarla.maps``.

A network consists of junctions and of streets between them.  A street is a polyline with rounded corners, and
ends a fixed distance before each of its junctions.  Inside a junction every pair of arms is joined by a road
that is a straight line or a single arc.  One arc suffices, because both arms point at the junction's centre
from the same distance.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scenariogeneration import xodr

ROOT = Path(__file__).parents[2]

Point = tuple[float, float]

ROAD_MARK_WIDTH = 0.15
GEO_REFERENCE = "+proj=tmerc +lat_0=0 +lon_0=0 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
DATE = "2026-01-01T00:00:00"  # fixed, so that the files do not change with the date


@dataclass(frozen=True)
class Piece:
    """A line (curvature 0) or an arc that begins at a pose."""

    x: float
    y: float
    heading: float
    length: float
    curvature: float = 0.0

    def end(self) -> tuple[float, float, float]:
        k, d, h = self.curvature, self.length, self.heading
        if k == 0.0:
            return self.x + d * math.cos(h), self.y + d * math.sin(h), h
        turn = h + k * d
        return (
            self.x + (math.sin(turn) - math.sin(h)) / k,
            self.y - (math.cos(turn) - math.cos(h)) / k,
            turn,
        )


@dataclass(frozen=True)
class Profile:
    """Cross-section of a street, per side, metres."""

    lane: float = 4.0
    shoulder: float = 0.4
    sidewalk: float = 2.2


@dataclass
class Arm:
    """One end of a street at a junction."""

    street: int
    at_start: bool  # the street's start touches the junction
    heading: float  # towards the junction's centre


@dataclass
class Node:
    """A junction."""

    centre: Point
    arms: list[Arm] = field(default_factory=list)
    signals: bool = False


@dataclass(frozen=True)
class Street:
    """From junction ``a`` to another, ``b``, by way of ``via``, corners rounded to ``radius``."""

    a: int
    b: int
    via: tuple[Point, ...] = ()
    radius: float = 18.0


def fillet(points: Sequence[Point], radius: float) -> list[Piece]:
    """Lines through ``points`` with arcs at the inner ones."""
    pieces: list[Piece] = []
    x, y = points[0]
    for k in range(1, len(points)):
        here, target = points[k - 1], points[k]
        heading = math.atan2(target[1] - here[1], target[0] - here[0])
        cut, turn = 0.0, 0.0
        if k + 1 < len(points):
            beyond = points[k + 1]
            following = math.atan2(beyond[1] - target[1], beyond[0] - target[0])
            turn = (following - heading + math.pi) % (2 * math.pi) - math.pi
            cut = radius * math.tan(abs(turn) / 2)
        length = math.hypot(target[0] - x, target[1] - y) - cut
        if length < 0:
            raise ValueError(f"corner {target} does not leave room for radius {radius}")
        if length > 1e-9:
            pieces.append(Piece(x, y, heading, length))
            x, y, _ = pieces[-1].end()
        if abs(turn) > 1e-9:
            curvature = math.copysign(1 / radius, turn)
            pieces.append(Piece(x, y, heading, radius * abs(turn), curvature))
            x, y, _ = pieces[-1].end()
    return pieces


class Network:
    """Builds an OpenDRIVE document from junctions and streets."""

    def __init__(self, name: str, reach: float = 10.0, profile: Profile | None = None) -> None:
        self.name, self.reach = name, reach
        self.profile = profile or Profile()
        self.document = xodr.OpenDrive(name, geo_reference=GEO_REFERENCE)
        self._next_road = 0
        self.signals: dict[int, list[tuple[int, str]]] = {}  # junction -> (phase, signal id)

    def build(self, nodes: list[Node], streets: Sequence[Street]) -> ET.Element:
        """Add everything and return the document's root."""
        roads = [self._street(nodes, number, street) for number, street in enumerate(streets)]
        for number, node in enumerate(nodes):
            self._junction(1000 + number, node, roads)
        for road in roads:
            self.document.add_road(road)
        return self.document.get_element()

    # ------------------------------------------------------------------ parts

    def _street(self, nodes: list[Node], number: int, street: Street) -> xodr.Road:
        if street.a == street.b:  # a junction knows its arms by their street, and here two have the same one
            raise ValueError(
                f"street {number} begins and ends at junction {street.a}: put another junction between"
            )
        a, b = nodes[street.a].centre, nodes[street.b].centre
        points = [a, *street.via, b]
        points[0] = _towards(points[0], points[1], self.reach)
        points[-1] = _towards(points[-1], points[-2], self.reach)
        pieces = fillet(points, street.radius)
        nodes[street.a].arms.append(Arm(number, True, pieces[0].heading + math.pi))
        nodes[street.b].arms.append(Arm(number, False, pieces[-1].end()[2]))
        road = xodr.Road(self._road_id(), _plan(pieces), self._two_way(), name=f"street {number}")
        road.add_type(xodr.RoadType.town, 0, speed=50, speed_unit="km/h")
        road.add_predecessor(xodr.ElementType.junction, 1000 + street.a)
        road.add_successor(xodr.ElementType.junction, 1000 + street.b)
        return road

    def _junction(self, number: int, node: Node, streets: list[xodr.Road]) -> None:
        junction = xodr.Junction(f"junction {number}", number)
        arms = sorted(node.arms, key=lambda a: a.heading % (2 * math.pi))
        for incoming in arms:
            for outgoing in arms:
                if outgoing is incoming:
                    continue
                road = self._connecting(number, node, incoming, outgoing, arms, streets)
                self.document.add_road(road)
                connection = xodr.Connection(streets[incoming.street].id, road.id, xodr.ContactPoint.start)
                connection.add_lanelink(1 if incoming.at_start else -1, -1)
                junction.add_connection(connection)
            if node.signals:
                self._signal(number, node, incoming, streets[incoming.street])
        self.document.add_junction(junction)

    def _connecting(
        self,
        junction: int,
        node: Node,
        incoming: Arm,
        outgoing: Arm,
        arms: list[Arm],
        streets: list[xodr.Road],
    ) -> xodr.Road:
        """One lane from an arm to another."""
        x = node.centre[0] - self.reach * math.cos(incoming.heading)
        y = node.centre[1] - self.reach * math.sin(incoming.heading)
        away = outgoing.heading + math.pi
        turn = (away - incoming.heading + math.pi) % (2 * math.pi) - math.pi
        if abs(turn) < 1e-6:
            piece = Piece(x, y, incoming.heading, 2 * self.reach)
        else:
            radius = self.reach / math.tan(abs(turn) / 2)
            piece = Piece(x, y, incoming.heading, radius * abs(turn), math.copysign(1 / radius, turn))
        # No road leaves further to the right: this connection is the junction's edge, with a kerb.
        turns = [
            (a.heading + math.pi - incoming.heading + math.pi) % (2 * math.pi) - math.pi
            for a in arms
            if a is not incoming
        ]
        edge = turn <= min(turns) + 1e-6
        road = xodr.Road(self._road_id(), _plan([piece]), self._one_way(edge), road_type=junction)
        road.add_type(xodr.RoadType.town, 0, speed=30, speed_unit="km/h")
        contact = xodr.ContactPoint
        road.add_predecessor(
            xodr.ElementType.road,
            streets[incoming.street].id,
            contact.start if incoming.at_start else contact.end,
        )
        road.add_successor(
            xodr.ElementType.road,
            streets[outgoing.street].id,
            contact.start if outgoing.at_start else contact.end,
        )
        lane = road.lanes.lanesections[0].rightlanes[0]
        lane.add_link("predecessor", 1 if incoming.at_start else -1)
        lane.add_link("successor", -1 if outgoing.at_start else 1)
        return road

    def _signal(self, junction: int, node: Node, arm: Arm, road: xodr.Road) -> None:
        """A traffic light at the end of an arm, for the lane that enters the junction."""
        length = road.planview.get_total_length()
        identity = str(junction * 10 + len(self.signals.setdefault(junction, [])))
        side = self.profile.lane + self.profile.shoulder + 0.5
        signal = xodr.Signal(
            s=0.5 if arm.at_start else length - 0.5,
            t=side if arm.at_start else -side,
            country="DE",
            Type="1000001",
            subtype="-1",
            id=identity,
            name="Signal_3Light_Post01",
            dynamic=xodr.Dynamic.yes,
            orientation=xodr.Orientation.negative if arm.at_start else xodr.Orientation.positive,
            zOffset=0.0,
            height=3.0,
            width=0.4,
        )
        lane = 1 if arm.at_start else -1
        signal.add_validity(lane, lane)
        road.add_signal(signal)
        # Opposite arms are green together.
        phase = round((arm.heading % math.pi) / (math.pi / 2)) % 2
        self.signals[junction].append((phase, identity))

    # ------------------------------------------------------------------ cross-sections

    def _two_way(self) -> xodr.Lanes:
        centre = xodr.Lane(lane_type=xodr.LaneType.none)
        centre.add_roadmark(_mark(xodr.RoadMarkType.broken, xodr.RoadMarkColor.yellow))
        section = xodr.LaneSection(0, centre)
        for add in (section.add_left_lane, section.add_right_lane):
            for lane in self._side():
                add(lane)
        return xodr.Lanes().add_lanesection(section)

    def _one_way(self, edge: bool) -> xodr.Lanes:
        section = xodr.LaneSection(0, xodr.Lane(lane_type=xodr.LaneType.none))
        for lane in self._side() if edge else [xodr.Lane(xodr.LaneType.driving, a=self.profile.lane)]:
            section.add_right_lane(lane)
        return xodr.Lanes().add_lanesection(section)

    def _side(self) -> list[xodr.Lane]:
        p = self.profile
        driving = xodr.Lane(xodr.LaneType.driving, a=p.lane)
        driving.add_roadmark(_mark(xodr.RoadMarkType.solid, xodr.RoadMarkColor.white))
        return [
            driving,
            xodr.Lane(xodr.LaneType.shoulder, a=p.shoulder),
            xodr.Lane(xodr.LaneType.sidewalk, a=p.sidewalk),
        ]

    def _road_id(self) -> int:
        self._next_road += 1
        return self._next_road


def _plan(pieces: Sequence[Piece]) -> xodr.PlanView:
    plan = xodr.PlanView()
    for p in pieces:
        shape = xodr.Line(p.length) if p.curvature == 0 else xodr.Arc(p.curvature, length=p.length)
        plan.add_fixed_geometry(shape, p.x, p.y, p.heading)
    return plan


def _mark(kind: xodr.RoadMarkType, colour: xodr.RoadMarkColor) -> xodr.RoadMark:
    return xodr.RoadMark(kind, width=ROAD_MARK_WIDTH, color=colour, laneChange=xodr.LaneChange.none)


def _towards(start: Point, target: Point, distance: float) -> Point:
    heading = math.atan2(target[1] - start[1], target[0] - start[0])
    return start[0] + distance * math.cos(heading), start[1] + distance * math.sin(heading)


# ---------------------------------------------------------------------- the maps


def loop() -> ET.Element:
    """A closed circuit without junctions: straights, wide and narrow bends, an S."""
    corners = [(0, 0), (150, 0), (150, 60), (210, 60), (210, 130), (80, 130), (80, 90), (0, 90)]
    network = Network("loop", profile=Profile(lane=3.5))
    start = (40.0, 0.0)
    points = [start, *[(float(x), float(y)) for x, y in corners[1:]], (0.0, 0.0), start]
    pieces = fillet(points, 18.0)
    # Cut into four roads that follow each other in a ring.
    quarter = math.ceil(len(pieces) / 4)
    parts = [pieces[i : i + quarter] for i in range(0, len(pieces), quarter)]
    roads = []
    for number, part in enumerate(parts):
        lanes = network._two_way()
        section = lanes.lanesections[0]
        for lane in (*section.leftlanes, *section.rightlanes):
            lane.add_link("predecessor", lane.lane_id)
            lane.add_link("successor", lane.lane_id)
        road = xodr.Road(network._road_id(), _plan(part), lanes, name=f"part {number}")
        road.add_type(xodr.RoadType.town, 0, speed=50, speed_unit="km/h")
        roads.append(road)
    for before, road in zip([roads[-1], *roads], roads, strict=False):
        before.add_successor(xodr.ElementType.road, road.id, xodr.ContactPoint.start)
        road.add_predecessor(xodr.ElementType.road, before.id, xodr.ContactPoint.end)
    for road in roads:
        network.document.add_road(road)
    return network.document.get_element()


def town() -> ET.Element:
    """Two-lane streets, T-junctions and corners on about 400 by 340 m, as CARLA's Town01 is."""
    centres = [
        (0, 120),  # 0 west side
        (110, 0),  # 1 south side
        (260, 0),  # 2
        (400, 110),  # 3 east side
        (400, 240),  # 4
        (290, 340),  # 5 north side
        (130, 340),  # 6
        (0, 250),  # 7 west side
        (110, 120),  # 8 inner
        (260, 110),  # 9
        (260, 240),  # 10
        (130, 250),  # 11
    ]
    nodes = [Node((float(x), float(y))) for x, y in centres]
    streets = [
        Street(0, 1, via=((0, 0),), radius=25),
        Street(1, 2),
        Street(2, 3, via=((400, 0),), radius=30),
        Street(3, 4),
        Street(4, 5, via=((400, 340),), radius=20),
        Street(5, 6),
        Street(6, 7, via=((0, 340),), radius=35),
        Street(7, 0),
        Street(1, 8),
        Street(0, 8),
        Street(8, 9, via=((160, 120), (200, 110)), radius=40),
        Street(2, 9),
        Street(9, 3, via=((295, 110), (325, 130), (365, 110)), radius=15),
        Street(9, 10),
        Street(10, 4),
        Street(10, 11, via=((220, 240), (205, 215), (170, 215), (155, 250)), radius=12),
        Street(11, 7, via=((90, 250), (75, 275), (40, 275), (25, 250)), radius=11),
        Street(11, 6),
        Street(8, 11, via=((110, 180), (130, 200)), radius=30),
        Street(10, 5, via=((260, 290), (290, 305)), radius=15),
    ]
    return Network("town").build(nodes, streets)


def grid() -> ET.Element:
    """Four by three streets, 90 m apart; the inner junctions are four-way and have traffic lights."""
    columns, rows, block = 4, 3, 90.0
    nodes: list[Node] = []
    index: dict[tuple[int, int], int] = {}
    for i in range(columns):
        for j in range(rows):
            if (i in (0, columns - 1)) and (j in (0, rows - 1)):
                continue  # the grid's corners are bends, not junctions
            inner = 0 < i < columns - 1 and 0 < j < rows - 1
            index[i, j] = len(nodes)
            nodes.append(Node((i * block, j * block), signals=inner))
    streets = [
        Street(index[i, j], index[i + di, j + dj])
        for (i, j) in index
        for di, dj in ((1, 0), (0, 1))
        if (i + di, j + dj) in index
    ]
    for i, j in ((0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)):
        beside = index[1 if i == 0 else i - 1, j]
        above = index[i, 1 if j == 0 else j - 1]
        streets.append(Street(beside, above, via=((i * block, j * block),), radius=20))
    network = Network("grid", reach=11.0)
    root = network.build(nodes, streets)
    _add_controllers(root, network.signals)
    return root


def village() -> ET.Element:
    """Narrow, winding lanes, slanted junctions and two lights, on about 330 by 280 m.

    No training run ever uses it: agents are tested here on streets that they have not seen.
    """
    centres = [
        (0, 130),  # 0 west
        (95, 20),  # 1 south
        (230, 0),  # 2
        (330, 95),  # 3 east
        (300, 230),  # 4
        (165, 280),  # 5 north
        (40, 235),  # 6
        (110, 130),  # 7 inner, with lights
        (220, 140),  # 8 inner, with lights
    ]
    nodes = [Node((float(x), float(y)), signals=k >= 7) for k, (x, y) in enumerate(centres)]
    streets = [
        Street(0, 1, via=((30, 60),), radius=30),
        Street(1, 2, via=((140, -15), (185, 25)), radius=22),
        Street(2, 3, via=((310, 15),), radius=28),
        Street(3, 4, via=((345, 165),), radius=40),
        Street(4, 5, via=((265, 290), (215, 255)), radius=16),
        Street(5, 6, via=((100, 295),), radius=45),
        Street(6, 0, via=((-15, 190),), radius=35),
        Street(0, 7, via=((45, 145), (75, 115)), radius=24),
        Street(7, 8, via=((150, 115), (185, 155)), radius=26),
        Street(8, 3, via=((265, 105),), radius=32),
        Street(1, 7, via=((85, 75),), radius=38),
        Street(8, 2, via=((245, 70),), radius=50),
        Street(7, 6, via=((60, 185),), radius=20),
        Street(8, 5, via=((165, 215),), radius=34),
    ]
    network = Network("village", reach=14.0, profile=Profile(lane=3.3, shoulder=0.4, sidewalk=2.0))
    root = network.build(nodes, streets)
    _add_controllers(root, network.signals)
    return root


def suburb() -> ET.Element:
    """Lanes of 3.5 m, long bends, slanted junctions, four of them with lights, on about 420 by 310 m."""
    centres = [
        (0, 60),  # 0 west
        (140, 10),  # 1 south
        (285, 35),  # 2
        (405, 130),  # 3 east
        (330, 265),  # 4 north-east
        (185, 305),  # 5 north
        (45, 240),  # 6 north-west
        (120, 110),  # 7 inner, with lights
        (255, 125),  # 8 inner, with lights
        (225, 215),  # 9 inner, with lights
        (95, 195),  # 10 inner, with lights
    ]
    nodes = [Node((float(x), float(y)), signals=k >= 7) for k, (x, y) in enumerate(centres)]
    streets = [
        Street(0, 1, via=((45, -15),), radius=26),
        Street(1, 2, via=((215, -25),), radius=60),
        Street(2, 3, via=((390, 40),), radius=34),
        Street(3, 4, via=((415, 225),), radius=24),
        Street(4, 5, via=((280, 320), (235, 280)), radius=18),
        Street(5, 6, via=((95, 325),), radius=38),
        Street(6, 0, via=((-25, 150),), radius=70),
        Street(0, 7),
        Street(1, 7, via=((155, 70),), radius=20),
        Street(7, 8, via=((170, 135), (215, 100)), radius=30),
        Street(8, 2, via=((285, 85),), radius=22),
        Street(8, 3, via=((330, 155),), radius=45),
        Street(8, 9, via=((270, 175),), radius=28),
        Street(9, 4, via=((280, 205),), radius=32),
        Street(9, 5),
        Street(9, 10, via=((190, 175), (140, 215)), radius=25),
        Street(10, 7, via=((80, 150),), radius=24),
        Street(10, 6),
    ]
    network = Network("suburb", reach=13.0, profile=Profile(lane=3.5, shoulder=0.5, sidewalk=2.0))
    root = network.build(nodes, streets)
    _add_controllers(root, network.signals)
    return root


def _add_controllers(root: ET.Element, signals: dict[int, list[tuple[int, str]]]) -> None:
    """Add the controllers, which switch lights together; ``scenariogeneration`` cannot write them."""
    junctions = {j.get("id"): j for j in root.findall("junction")}
    for junction, members in signals.items():
        for phase in (0, 1):
            together = [identity for p, identity in members if p == phase]
            if not together:
                continue
            name = str(junction * 10 + 100_000 + phase)
            controller = ET.Element("controller", name=f"ctrl{name}", id=name, sequence=str(phase))
            for identity in together:
                ET.SubElement(controller, "control", signalId=identity, type="0")
            root.insert(list(root).index(root.find("junction")), controller)  # type: ignore[arg-type]
            ET.SubElement(junctions[str(junction)], "controller", id=name, type="0", sequence="0")


MAPS = {"loop": loop, "town": town, "grid": grid, "suburb": suburb, "village": village}


def text(name: str) -> str:
    """The OpenDRIVE text of a bundled map; the same bytes on every call."""
    # The library refuses an id that another map of this process has; it must be unique in its own map only.
    xodr.Signal._usedIDs.clear()
    root = MAPS[name]()
    header = root.find("header")
    assert header is not None
    header.set("date", DATE)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def main() -> None:
    """Write every bundled map."""
    folder = ROOT / "packages/minicarla/src/minicarla/maps/data"
    folder.mkdir(exist_ok=True)
    for name in MAPS:
        path = folder / f"{name}.xodr"
        path.write_text(text(name))
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
