"""OpenDRIVE text in, plain records out.

Reads what CARLA 0.9.16's own parser reads of OpenDRIVE 1.4 and later: plan view
(line, arc, spiral, poly3, paramPoly3), elevation, lane offsets, sections, lanes
with widths, marks, speeds and links, junctions, signals and controllers.
Everything stays in OpenDRIVE's frame (right-handed, radians); :mod:`.roadmap`
turns it into CARLA's.

The text may come from a client, so nothing in it is trusted: entity declarations
are refused (no expansion bombs, no external files), numbers must be finite, and
sizes are bounded.
"""

from __future__ import annotations

import codecs
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from minicarla.maps.curves import SHORTEST, Geometry, Polynomials

Array = NDArray[np.float64]

MAX_BYTES = 64 * 1024 * 1024
# Larger values are damage, not a road.
MAX_ROAD_LENGTH = 100_000.0  # metres
MAX_COORDINATE = 1e6  # metres, of anything on the map
MAX_CURVATURE = 10.0  # 1/m
MAX_SPIRAL_TURN = 100.0
"""Radians, length times greatest curvature.  A spiral is integrated over all of it for each of its points."""
MAX_LANE_NUMBER = 1000  # lanes on one side of a road
MAX_MARK_WIDTH = 2.0  # metres
MAX_SAMPLES = 8_000_000
"""Points at which all polynomials of a map are sampled together, see :attr:`Geometry.samples`.  They are
enough for 400 km, as long as ``stations.MAX_POINTS`` allow.  A point takes 16 bytes, and may be computed
twelve times."""


class OpenDriveError(ValueError):
    """The text is not OpenDRIVE that can be driven on; the message says what is wrong where."""


@dataclass
class RoadMark:
    """A ``<roadMark>``: from ``s_offset`` (metres after the section's start) to the next one."""

    s_offset: float
    kind: str  # "broken", "solid", "solid solid", "none", ...
    colour: str
    width: float


@dataclass
class LaneRecord:
    """A ``<lane>`` of one section."""

    id: int  # OpenDRIVE's: positive left, negative right, 0 the reference line
    kind: str
    widths: Polynomials
    marks: list[RoadMark]
    speeds: list[tuple[float, float]]  # (s offset, m/s)
    predecessor: int | None = None
    successor: int | None = None


@dataclass
class LaneSection:
    """A ``<laneSection>``; lanes by OpenDRIVE id."""

    s: float
    length: float
    lanes: dict[int, LaneRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class RoadLink:
    """Where an end of a road leads."""

    element: str  # "road" or "junction"
    id: str
    contact: str  # "start" or "end"; "" for a junction


@dataclass
class SignalRecord:
    """A ``<signal>`` or ``<signalReference>``."""

    id: str
    s: float
    t: float
    z: float
    heading_offset: float
    orientation: str
    kind: str  # OpenDRIVE type; "1000001" is a three-light traffic light
    dynamic: bool
    name: str
    height: float
    value: float
    valid: list[tuple[int, int]]
    subtype: str = ""
    unit: str = ""

    def covers(self, lane: int) -> bool:
        """Whether its validity covers a lane; without any validity it covers all."""
        return not self.valid or any(min(v) <= lane <= max(v) for v in self.valid)

    def faces(self, forward: bool) -> bool:
        """Whether its orientation is for traffic that drives along the road, or against it."""
        return self.orientation not in ("+", "-") or (self.orientation == "+") == forward


@dataclass
class Road:
    """A ``<road>``."""

    id: str
    length: float
    junction: str  # "-1" for none
    geometries: list[Geometry]
    elevation: Polynomials
    lane_offset: Polynomials
    sections: list[LaneSection]
    predecessor: RoadLink | None
    successor: RoadLink | None
    speeds: list[tuple[float, float]]  # (s, m/s) from <type>
    signals: list[SignalRecord]
    references: list[SignalRecord]
    right_hand: bool = True

    @cached_property
    def starts(self) -> Array:
        """s of each geometry, in rising order."""
        return np.array([g.s for g in self.geometries])

    def section_at(self, s: float) -> int:
        """Index of the section at ``s``, of those that have a length; the nearest one beyond the ends."""
        long = [k for k, section in enumerate(self.sections) if section.length >= SHORTEST] or [0]
        return max((k for k in long if self.sections[k].s <= s), default=long[0])

    def at(self, s: Array) -> tuple[Array, Array, Array]:
        """x, y, heading (radians, OpenDRIVE's frame) of the reference line at ``s`` (n,)."""
        index = np.clip(np.searchsorted(self.starts, s + 1e-9, side="right") - 1, 0, len(self.starts) - 1)
        x, y, heading = np.empty_like(s), np.empty_like(s), np.empty_like(s)
        for i in np.unique(index):
            chosen = index == i
            x[chosen], y[chosen], heading[chosen] = self.geometries[i].at(s[chosen] - self.starts[i])
        return x, y, heading


@dataclass
class Connection:
    """A ``<connection>`` of a junction."""

    incoming: str
    connecting: str
    contact: str
    lanes: list[tuple[int, int]]


@dataclass
class Junction:
    """A ``<junction>``."""

    id: str
    connections: list[Connection]
    controllers: list[str]


@dataclass
class OpenDrive:
    """A whole file.  ``controllers`` maps a controller's id to the signals it switches."""

    roads: dict[str, Road]
    junctions: dict[str, Junction]
    controllers: dict[str, list[str]]
    geo_reference: str


_PREAMBLE = re.compile(r"\A(?:\s|\ufeff|<!--.*?-->)*", re.DOTALL)
"""What CARLA's parser (pugixml) allows before the XML declaration, and the standard does not."""
_ENCODING = re.compile(rb"""<\?xml[^>]*\bencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


def decode(data: bytes) -> str:
    """The text of an .xodr file: UTF-8, UTF-16 with its mark, or the encoding that its declaration names.

    Raises:
        OpenDriveError: the bytes are no text in that encoding.
    """
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            declared = _ENCODING.search(data[:1000])
            if declared is None:
                raise
            return data.decode(declared[1].decode())
    except (UnicodeError, LookupError):
        raise OpenDriveError("the file is not text") from None


SPEED_UNITS = {"m/s": 1.0, "mph": 0.44704, "km/h": 1.0 / 3.6}


def parse(text: str) -> OpenDrive:
    """Parse OpenDRIVE XML.

    Raises:
        OpenDriveError: not XML, not OpenDRIVE, entity declarations, no road, or
            a number that is missing, malformed or not finite.
    """
    root = _parse_xml(text)
    if root.tag != "OpenDRIVE":
        raise OpenDriveError(f"the root element is <{root.tag}>, not <OpenDRIVE>")
    roads: dict[str, Road] = {}
    samples = 0
    for element in root.findall("road"):
        road = _road(element)
        if road.id in roads:
            raise OpenDriveError(f"two roads have the id {road.id!r}")
        roads[road.id] = road
        samples += sum(geometry.samples for geometry in road.geometries)
        if samples > MAX_SAMPLES:
            raise OpenDriveError(f"road {road.id!r}: the map's curves are longer than can be held")
    if not roads:
        raise OpenDriveError("there is no <road>")
    junctions = {}
    for element in root.findall("junction"):
        connections = [
            Connection(
                incoming=c.get("incomingRoad", ""),
                connecting=c.get("connectingRoad", ""),
                contact=c.get("contactPoint", "start"),
                lanes=[
                    (_lane_number(link, "from"), _lane_number(link, "to")) for link in c.findall("laneLink")
                ],
            )
            for c in element.findall("connection")
        ]
        switched = [c.get("id", "") for c in element.findall("controller")]
        junctions[element.get("id", "")] = Junction(element.get("id", ""), connections, switched)
    controllers = {
        c.get("id", ""): list(dict.fromkeys(s.get("signalId", "") for s in c.findall("control")))
        for c in root.findall("controller")
    }
    reference = root.findtext("header/geoReference") or ""
    return OpenDrive(roads, junctions, controllers, reference.strip())


def _parse_xml(text: str) -> ET.Element:
    if len(text) > MAX_BYTES:
        raise OpenDriveError(f"the text has {len(text)} characters; {MAX_BYTES} are allowed")
    data = _PREAMBLE.sub("", text, count=1).encode("utf-8", "surrogatepass")
    # ElementTree expands entities that the document itself declares; a first pass
    # with bare expat refuses every declaration before a tree is built.
    guard = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise OpenDriveError("document type and entity declarations are not accepted")

    guard.StartDoctypeDeclHandler = refuse
    guard.EntityDeclHandler = refuse
    try:
        guard.Parse(data, True)
        # The declared encoding was that of a file; what came is text already.
        return ET.fromstring(data, ET.XMLParser(encoding="utf-8"))
    except (expat.ExpatError, ET.ParseError, UnicodeError) as error:
        raise OpenDriveError(f"not well-formed XML: {error}") from None


def _number(element: ET.Element, name: str, default: float | None = None) -> float:
    text = element.get(name)
    if text is None:
        if default is None:
            raise OpenDriveError(f"<{element.tag}> lacks {name!r}")
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise OpenDriveError(f"<{element.tag}> has {name}={text[:40]!r}, which is not a number")
    return value


def _optional(element: ET.Element, name: str, default: float) -> float:
    """A number that shapes no road: whatever cannot be read counts as not given, as in CARLA."""
    try:
        return _number(element, name, default)
    except OpenDriveError:
        return default


def _place(element: ET.Element, name: str, default: float | None = None) -> float:
    """A coordinate, or a distance along a road, in metres."""
    value = _number(element, name, default)
    if abs(value) > MAX_COORDINATE:
        raise OpenDriveError(
            f"<{element.tag}> has {name}={value:g}; at most {MAX_COORDINATE:g} m are possible"
        )
    return value


def _lane_number(element: ET.Element, name: str) -> int:
    value = _number(element, name)
    if abs(value) > MAX_LANE_NUMBER:
        raise OpenDriveError(f"<{element.tag}> has {name}={value:g}, which is not the number of a lane")
    return int(value)


def _curvature(element: ET.Element, name: str) -> float:
    value = _number(element, name)
    if abs(value) > MAX_CURVATURE:
        raise OpenDriveError(
            f"<{element.tag}> has {name}={value}; at most {MAX_CURVATURE:g} 1/m are possible"
        )
    return value


def _cubics(elements: list[ET.Element], s_name: str) -> Polynomials:
    return Polynomials(
        [
            (_place(e, s_name, 0.0), *(_number(e, k, 0.0) for k in "abcd"))  # type: ignore[misc]
            for e in elements
        ]
    )


def _speed(element: ET.Element) -> float | None:
    text = element.get("max", "")
    try:
        value = float(text) * SPEED_UNITS.get(element.get("unit", "m/s"), 1.0)
    except ValueError:  # "no limit", "undefined"
        return None
    return value if math.isfinite(value) and value > 0 else None


def _geometry(element: ET.Element) -> Geometry:
    length = _number(element, "length")
    if not 0.0 <= length <= MAX_ROAD_LENGTH:
        raise OpenDriveError(f"a <geometry> has the length {length:g}")
    base: dict[str, Any] = {
        "s": _place(element, "s"),
        "x": _place(element, "x"),
        "y": _place(element, "y"),
        "heading": _number(element, "hdg"),
        "length": length,
    }
    for shape in element:
        if shape.tag == "line":
            return Geometry(**base, shape="line")
        if shape.tag == "arc":
            return Geometry(**base, shape="arc", parameters=(_curvature(shape, "curvature"),))
        if shape.tag == "spiral":
            curvatures = (_curvature(shape, "curvStart"), _curvature(shape, "curvEnd"))
            if length * max(map(abs, curvatures)) > MAX_SPIRAL_TURN:
                raise OpenDriveError("a <spiral> winds more than ten times")
            return Geometry(**base, shape="spiral", parameters=curvatures)
        if shape.tag == "poly3":
            return Geometry(**base, shape="poly3", parameters=tuple(_number(shape, k) for k in "abcd"))
        if shape.tag == "paramPoly3":
            names = ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV")
            return Geometry(
                **base,
                shape="paramPoly3",
                parameters=tuple(_number(shape, k) for k in names),
                normalized=shape.get("pRange", "normalized") != "arcLength",
            )
    raise OpenDriveError("<geometry> has none of line, arc, spiral, poly3, paramPoly3")


def _fitted(geometries: list[Geometry], road_length: float) -> list[Geometry]:
    """The pieces of a road in order, each no longer than up to the next one, and none without a length.

    A road is on each piece up to where the next one begins, whatever length is stated.
    """
    pieces = [g for g in geometries if g.length >= SHORTEST] or geometries[:1]
    fitted = []
    for piece, end in zip(pieces, [*(g.s for g in pieces[1:]), road_length], strict=True):
        if piece.s + piece.length <= end + SHORTEST:
            fitted.append(piece)
        elif end - piece.s >= SHORTEST:
            fitted.append(piece.clipped(end - piece.s))
    return fitted or pieces[:1]


def _lane(element: ET.Element) -> LaneRecord:
    def link(name: str) -> int | None:
        found = element.find(f"link/{name}")
        return None if found is None else _lane_number(found, "id")

    marks = []
    for mark in element.findall("roadMark"):
        weight = 0.25 if mark.get("weight") == "bold" else 0.15
        marks.append(
            RoadMark(
                s_offset=_place(mark, "sOffset", 0.0),
                kind=mark.get("type", "none"),
                colour=mark.get("color", "standard"),
                width=min(_optional(mark, "width", weight), MAX_MARK_WIDTH),
            )
        )
    marks.sort(key=lambda m: m.s_offset)
    speeds = []
    for speed in element.findall("speed"):
        limit = _speed(speed)
        if limit is not None:
            speeds.append((_place(speed, "sOffset", 0.0), limit))
    return LaneRecord(
        id=_lane_number(element, "id"),
        kind=element.get("type", "none"),
        widths=_cubics(element.findall("width"), "sOffset"),
        marks=marks,
        speeds=sorted(speeds),
        predecessor=link("predecessor"),
        successor=link("successor"),
    )


def _signal(element: ET.Element) -> SignalRecord:
    return SignalRecord(
        id=element.get("id", ""),
        s=_place(element, "s"),
        t=_place(element, "t", 0.0),
        z=_place(element, "zOffset", 0.0),
        heading_offset=_optional(element, "hOffset", 0.0),
        orientation=element.get("orientation", "+"),
        kind=element.get("type", ""),
        dynamic=element.get("dynamic", "no") == "yes",
        name=element.get("name", ""),
        height=_optional(element, "height", 0.0),
        value=_optional(element, "value", -1.0),
        subtype=element.get("subtype", ""),
        unit=element.get("unit", ""),
        valid=[(_lane_number(v, "fromLane"), _lane_number(v, "toLane")) for v in element.findall("validity")],
    )


_SPEED_NAME = re.compile(r"[Ss]peed_(?:STATIC_?)?(\d{1,3})$")
"""Names of the objects by which RoadRunner writes speed limit signs."""


def _limit_sign(element: ET.Element) -> str:
    """The limit that an object's name states; "" for other objects."""
    found = _SPEED_NAME.match(element.get("name", ""))
    return found[1] if found else ""


def _sign_object(element: ET.Element) -> SignalRecord:
    """The signal that CARLA makes of an object called ``Speed_30`` (its ``ObjectParser``)."""
    heading = _optional(element, "hdg", 0.0)
    return replace(_signal(element), kind="274", subtype=_limit_sign(element), heading_offset=heading)


def _road_link(element: ET.Element, name: str) -> RoadLink | None:
    found = element.find(f"link/{name}")
    if found is None or not found.get("elementId"):
        return None
    kind = found.get("elementType", "road")
    return RoadLink(kind, found.get("elementId", ""), found.get("contactPoint", "start"))


def _road(element: ET.Element) -> Road:
    identity = element.get("id", "")
    try:
        length = _number(element, "length")
        if not 0.0 <= length < MAX_ROAD_LENGTH:
            raise OpenDriveError(f"its length is {length:g}")
        geometries = [_geometry(part) for part in element.findall("planView/geometry")]
        if not geometries:
            raise OpenDriveError("it has no <geometry>")
        geometries = _fitted(sorted(geometries, key=lambda g: g.s), length)
        sections = []
        for part in sorted(element.findall("lanes/laneSection"), key=lambda e: _place(e, "s")):
            section = LaneSection(s=_place(part, "s"), length=0.0)
            for side in ("left", "center", "right"):
                for lane in map(_lane, part.findall(f"{side}/lane")):
                    section.lanes[lane.id] = lane
            sections.append(section)
        if not sections:
            raise OpenDriveError("it has no <laneSection>")
        for section, end in zip(sections, [*(s.s for s in sections[1:]), length], strict=True):
            section.length = end - section.s
        speeds = []
        for kind in element.findall("type"):
            speed = kind.find("speed")
            limit = None if speed is None else _speed(speed)
            if limit is not None:
                speeds.append((_place(kind, "s", 0.0), limit))
        return Road(
            id=identity,
            length=length,
            junction=element.get("junction") or "-1",
            geometries=geometries,
            elevation=_cubics(element.findall("elevationProfile/elevation"), "s"),
            lane_offset=_cubics(element.findall("lanes/laneOffset"), "s"),
            sections=sections,
            predecessor=_road_link(element, "predecessor"),
            successor=_road_link(element, "successor"),
            speeds=sorted(speeds),
            signals=[
                *(_signal(s) for s in element.findall("signals/signal")),
                *(_sign_object(s) for s in element.findall("objects/object") if _limit_sign(s)),
            ],
            references=[_signal(s) for s in element.findall("signals/signalReference")],
            right_hand=element.get("rule", "RHT") != "LHT",
        )
    except OpenDriveError as error:
        raise OpenDriveError(f"road {identity!r}: {error}") from None
