"""Builds an OpenDRIVE document from junctions and streets.

A street is a polyline with rounded corners, and ends a fixed distance before each of its junctions.  Inside a
junction every pair of arms is joined by a road that is a straight line or a single arc.  One arc suffices,
because both arms point at the junction's centre from the same distance.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field

from scenariogeneration import xodr

Point = tuple[float, float]

ROAD_MARK_WIDTH = 0.15
GEO_REFERENCE = "+proj=tmerc +lat_0=0 +lon_0=0 +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"


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
    """Lines through ``points`` with arcs at the inner ones.

    Raises ``ValueError`` where two corners together need more than there is between them.
    """
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
        passed = (target[0] - x) * math.cos(heading) + (target[1] - y) * math.sin(heading) < 0
        if length < 0 or passed:  # the corner before takes more than there is
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
        points[0] = towards(points[0], points[1], self.reach)
        points[-1] = towards(points[-1], points[-2], self.reach)
        pieces = fillet(points, street.radius)
        nodes[street.a].arms.append(Arm(number, True, pieces[0].heading + math.pi))
        nodes[street.b].arms.append(Arm(number, False, pieces[-1].end()[2]))
        road = xodr.Road(self.road_id(), plan(pieces), self.two_way(), name=f"street {number}")
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
        road = xodr.Road(self.road_id(), plan([piece]), self._one_way(edge), road_type=junction)
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
        self.signals[junction].append((phase_of(arm.heading), identity))

    # ------------------------------------------------------------------ cross-sections

    def two_way(self) -> xodr.Lanes:
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

    def road_id(self) -> int:
        self._next_road += 1
        return self._next_road


def plan(pieces: Sequence[Piece]) -> xodr.PlanView:
    plan = xodr.PlanView()
    for p in pieces:
        shape = xodr.Line(p.length) if p.curvature == 0 else xodr.Arc(p.curvature, length=p.length)
        plan.add_fixed_geometry(shape, p.x, p.y, p.heading)
    return plan


def _mark(kind: xodr.RoadMarkType, colour: xodr.RoadMarkColor) -> xodr.RoadMark:
    return xodr.RoadMark(kind, width=ROAD_MARK_WIDTH, color=colour, laneChange=xodr.LaneChange.none)


def phase_of(heading: float) -> int:
    """When an arm with this direction (radians) is green, 0 or 1: opposite arms are green together."""
    return round((heading % math.pi) / (math.pi / 2)) % 2


def towards(start: Point, target: Point, distance: float) -> Point:
    heading = math.atan2(target[1] - start[1], target[0] - start[0])
    return start[0] + distance * math.cos(heading), start[1] + distance * math.sin(heading)


def add_controllers(root: ET.Element, signals: dict[int, list[tuple[int, str]]]) -> None:
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
