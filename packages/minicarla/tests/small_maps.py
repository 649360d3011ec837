"""Small OpenDRIVE texts for the tests, so that they need neither a writer nor files of anybody's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minicarla import maps

BUNDLED = [name for name in maps.available() if name not in ("random2", "random3")]
"""Those that tests over all maps run on: of the drawn towns the one with the narrowest lanes is enough."""
Profile = Sequence[tuple[str, float]]
"""(type, width in metres) of the lanes on one side of a road, from its middle outwards."""

ONE_LANE: Profile = (("driving", 3.5),)
STREET: Profile = (("driving", 3.5), ("shoulder", 0.5), ("sidewalk", 2.0))


def document(*elements: str) -> str:
    """A whole OpenDRIVE text from its roads, junctions and controllers."""
    return (
        '<?xml version="1.0"?><OpenDRIVE><header revMajor="1" revMinor="4" name="g" version="1" date="2026"'
        ' north="0" south="0" east="0" west="0"><geoReference><![CDATA[+proj=tmerc +lat_0=0 +lon_0=0]]>'
        "</geoReference></header>" + "".join(elements) + "</OpenDRIVE>"
    )


def geometry(
    length: float,
    x: float = 0.0,
    y: float = 0.0,
    heading: float = 0.0,
    shape: str = "<line/>",
    s: float = 0.0,
) -> str:
    """One piece of a reference line."""
    return f'<geometry s="{s}" x="{x}" y="{y}" hdg="{heading}" length="{length}">{shape}</geometry>'


def mark(s: float = 0.0, kind: str = "solid", colour: str = "white") -> str:
    """A painted line from ``s`` metres after the section's start on."""
    return f'<roadMark sOffset="{s}" type="{kind}" color="{colour}" width="0.15"/>'


def lane(number: int, kind: str, width: float, links: bool = True, marks: str | None = None) -> str:
    """A lane of one width; its links lead to the lanes of the same number."""
    link = f'<link><predecessor id="{number}"/><successor id="{number}"/></link>' if links else "<link/>"
    return (
        f'<lane id="{number}" type="{kind}" level="false">{link}'
        f'<width sOffset="0" a="{width}" b="0" c="0" d="0"/>{mark() if marks is None else marks}</lane>'
    )


def section(
    right: Profile,
    left: Profile = (),
    s: float = 0.0,
    links: bool = True,
    centre: str | None = None,
) -> str:
    """A lane section that begins at ``s``."""
    middle = mark(kind="broken", colour="yellow") if centre is None else centre
    sides = [
        "".join(lane(sign * (k + 1), *part, links=links) for k, part in enumerate(side))
        for sign, side in ((1, left), (-1, right))
    ]
    return (
        f'<laneSection s="{s}"><left>{sides[0]}</left>'
        f'<center><lane id="0" type="none" level="false">{middle}</lane></center>'
        f"<right>{sides[1]}</right></laneSection>"
    )


def road(
    number: int,
    length: float,
    sections: str,
    *,
    plan: str | None = None,
    link: str = "",
    junction: int = -1,
    elevation: str = "",
    signals: str = "",
    speed: float = 50.0,
) -> str:
    """A road; without ``plan`` a straight one from the origin along x.  ``speed`` in km/h."""
    return (
        f'<road name="road {number}" length="{length}" id="{number}" junction="{junction}">'
        f'<link>{link}</link><type s="0" type="town"><speed max="{speed}" unit="km/h"/></type>'
        f"<planView>{geometry(length) if plan is None else plan}</planView>"
        f"<elevationProfile>{elevation}</elevationProfile><lateralProfile/>"
        f"<lanes>{sections}</lanes><signals>{signals}</signals></road>"
    )


def signal(
    number: int,
    kind: str,
    s: float,
    t: float,
    *,
    subtype: str = "-1",
    value: float = -1.0,
    orientation: str = "+",
    heading: float = 0.0,
    dynamic: str = "no",
    lanes: tuple[int, int] | None = None,
    name: str = "",
    unit: str = "",
) -> str:
    """A sign or a traffic light."""
    validity = "" if lanes is None else f'<validity fromLane="{lanes[0]}" toLane="{lanes[1]}"/>'
    measure = f' unit="{unit}"' if unit else ""
    return (
        f'<signal id="{number}" name="{name}" type="{kind}" subtype="{subtype}" value="{value}"{measure}'
        f' s="{s}" t="{t}" zOffset="0" hOffset="{heading}" orientation="{orientation}"'
        f' dynamic="{dynamic}" country="DE">{validity}</signal>'
    )


def height(a: float, slope: float = 0.0, s: float = 0.0) -> str:
    """The elevation from ``s`` on: ``a`` metres, and rising by ``slope`` metres a metre."""
    return f'<elevation s="{s}" a="{a}" b="{slope}" c="0" d="0"/>'


def straight(
    side: Profile = ONE_LANE,
    length: float = 80.0,
    elevation: str = "",
    across: Profile | None = None,
    above: float = 0.0,
) -> str:
    """One straight road with these lanes on each side, which begins and ends nowhere.

    across: lanes on each side of a second one that crosses it in its middle, without a junction,
        ``above`` metres higher.
    """
    roads = [road(1, length, section(side, side, links=False), elevation=elevation)]
    if across is not None:
        plan = geometry(length, 0.5 * length, -0.5 * length, 0.5 * math.pi)
        lanes = section(across, across, links=False)
        roads.append(road(2, length, lanes, plan=plan, elevation=height(above)))
    return document(*roads)


def ring(radius: float = 25.0, side: Profile = STREET) -> str:
    """A circle of two roads that follow each other, so that no lane ends."""
    half = math.pi * radius
    arc = f'<arc curvature="{1.0 / radius}"/>'
    roads = []
    for number, (x, heading) in enumerate(((radius, 0.5 * math.pi), (-radius, -0.5 * math.pi)), 1):
        other = 3 - number
        link = (
            f'<predecessor elementType="road" elementId="{other}" contactPoint="end"/>'
            f'<successor elementType="road" elementId="{other}" contactPoint="start"/>'
        )
        plan = geometry(half, x, 0.0, heading, arc)
        roads.append(road(number, half, section(side, side), plan=plan, link=link))
    return document(*roads)


LIGHT, YIELD, STOP, LIMIT = "1000001", "205", "206", "274"
"""OpenDRIVE's types of signal."""


def crossing(arm: float = 40.0, reach: float = 12.0, sidewalks_inside: bool = False) -> str:
    """Four streets that end blindly, and a junction of twelve connecting roads between them.

    Streets 1 to 4 lead towards the junction from the west, the south, the east and the north; each
    has a sign or a light for those who drive into it: a traffic light, a stop sign, a traffic light, a
    yield sign.  A speed limit of 30 stands on street 1.
    """
    side = STREET
    roads, connections, number = [], [], 10
    for street in range(4):
        heading = 0.5 * math.pi * street
        away = arm + reach
        plan = geometry(arm, -away * math.cos(heading), -away * math.sin(heading), heading)
        kind = (LIGHT, STOP, LIGHT, YIELD)[street]
        dynamic = "yes" if kind == LIGHT else "no"
        signs = signal(street + 1, kind, arm - 0.5, -5.0, dynamic=dynamic, lanes=(-1, -1))
        if street == 0:
            signs += signal(9, LIMIT, 10.0, -5.0, subtype="30", value=30.0, unit="km/h", lanes=(-1, -1))
        link = '<successor elementType="junction" elementId="100"/>'
        roads.append(road(street + 1, arm, section(side, side), plan=plan, link=link, signals=signs))
    inside = side if sidewalks_inside else ONE_LANE
    for come, leave in ((a, b) for a in range(4) for b in range(4) if a != b):
        heading = 0.5 * math.pi * come
        # Everybody comes along ``heading`` and leaves against the other street's.
        turn = (0.5 * math.pi * (leave - come) + math.pi + math.pi) % (2.0 * math.pi) - math.pi
        x, y = -reach * math.cos(heading), -reach * math.sin(heading)
        if abs(turn) < 1e-9:
            length, shape = 2.0 * reach, "<line/>"
        else:
            radius = reach / math.tan(0.5 * abs(turn))
            length = radius * abs(turn)
            shape = f'<arc curvature="{math.copysign(1.0 / radius, turn)}"/>'
        link = (
            f'<predecessor elementType="road" elementId="{come + 1}" contactPoint="end"/>'
            f'<successor elementType="road" elementId="{leave + 1}" contactPoint="end"/>'
        )
        lanes = section(inside, centre="").replace('<successor id="-1"/>', '<successor id="1"/>')
        plan = geometry(length, x, y, heading, shape)
        roads.append(road(number, length, lanes, plan=plan, link=link, junction=100, speed=30.0))
        connections.append(
            f'<connection id="{number}" incomingRoad="{come + 1}" connectingRoad="{number}"'
            ' contactPoint="start"><laneLink from="-1" to="-1"/></connection>'
        )
        number += 1
    controller = '<controller id="50" name="c"><control signalId="1"/><control signalId="3"/></controller>'
    junction = f'<junction id="100" name="j">{"".join(connections)}<controller id="50"/></junction>'
    return document(*roads, controller, junction)


def curves() -> str:
    """A road for every shape of a reference line, with hills, lane offsets and widths that change."""
    shapes = (
        '<arc curvature="-0.02"/>',
        '<spiral curvStart="0.0" curvEnd="0.05"/>',
        '<poly3 a="0" b="0" c="0.004" d="-0.00003"/>',
        '<paramPoly3 pRange="normalized" aU="0" bU="60" cU="1" dU="0" aV="0" bV="0" cV="20" dV="-9"/>',
    )
    hill = height(1.5, 0.03) + height(2.4, 0.03, s=30.0).replace('c="0"', 'c="-0.001"')
    offset = '<laneOffset s="0" a="0.5" b="0.01" c="0" d="0"/>'
    widening = section(STREET, STREET, s=25.0).replace('b="0"', 'b="0.02"', 1)
    lanes = offset + section(STREET, STREET, centre=mark(kind="broken") + mark(10.0)) + widening
    return document(
        *(
            road(n, 60.0, lanes, plan=geometry(60.0, 0.0, 45.0 * n, 0.0, shape), elevation=hill)
            for n, shape in enumerate(shapes, 1)
        )
    )
