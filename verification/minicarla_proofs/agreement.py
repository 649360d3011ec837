"""The client and the server understand a map alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minicarla import maps
from minicarla.maps import Lane, RoadMap
from minicarla.maps.opendrive import RoadMark
from verification.minicarla_proofs.stage import TOWN01, ClientProcess, Finding, ServerProcess

CLOSE = 0.01  # metres

_TYPES = {
    "none": "NONE",
    "solid": "Solid",
    "broken": "Broken",
    "solid solid": "SolidSolid",
    "solid broken": "SolidBroken",
    "broken solid": "BrokenSolid",
    "broken broken": "BrokenBroken",
    "botts dots": "BottsDots",
    "grass": "Grass",
    "curb": "Curb",
}
_COLOURS = {"standard": "White", "white": "White"}


def prove(short: bool) -> Iterator[Finding]:
    """Compare lanes, topology, spawn points and markings of each map."""
    names = ["grid"] if short else ["loop", "town", "grid"]
    if TOWN01.is_file() and not short:
        names.append(str(TOWN01))
    for name in names:
        yield from compare(name, 8.0 if short else 0.7)


def compare(name: str, spacing: float) -> Iterator[Finding]:
    """Compare one map.

    spacing: metres between the places where lanes are compared.
    """
    roadmap = maps.load(name)
    places = [
        (lane, float(s))
        for lane in roadmap.driving
        for s in np.linspace(0.02, lane.length - 0.02, 2 + int(lane.length / spacing))
        if lane.length > 0.1
    ]
    with ServerProcess(name) as server, ClientProcess("survey", server.port) as client:
        view = client.hear()
        client.tell([[lane.road_id, lane.lane_id, _road_s(lane, s)] for lane, s in places])
        answers = client.hear()
    title = Path(name).stem

    gaps, turns = _gaps(places, answers)
    back = _waypoints_off_lanes(roadmap, view["waypoints"])
    yield Finding(
        f"lanes within 1 cm of the client's on {title}",
        f"{1e3 * gaps.max():.2f} mm and {turns.max():.3f} degrees at most over {len(gaps)} places on"
        f" {len(roadmap.driving)} lanes; the client's {len(view['waypoints'])} waypoints lie"
        f" {1e3 * back:.2f} mm off at most",
        bool(gaps.max() < CLOSE and back < CLOSE and turns.max() < 0.5),
    )

    # CARLA's own maps link a few lanes to shoulders.  Only the client counts these as successors.
    driving = {_key(lane) for lane in roadmap.driving}
    ours, theirs = _topology(roadmap), [(tuple(a), tuple(b)) for a, b in view["topology"]]
    astray = [link for link in theirs if link[1] not in driving]
    theirs = [link for link in theirs if link[1] in driving]
    yield Finding(
        f"the same topology on {title}",
        f"{len(theirs)} segments with the client, {len(ours)} with the server,"
        f" {len(set(ours) ^ set(theirs))} different"
        + f"; {len(astray)} more of the client's end on a shoulder"
        * bool(astray),
        sorted(ours) == sorted(theirs) and len(theirs) > 0,
    )

    aside = max(_aside(p, q) for p, q, _ in view["spawn points"])
    turned = max(abs((p[3] - q[3] + 180.0) % 360.0 - 180.0) for p, q, _ in view["spawn points"])
    count = len(view["spawn points"])
    yield Finding(
        f"spawn points in the middle of lanes on {title}",
        f"{count} points, {1e3 * aside:.2f} mm aside at most",
        aside < CLOSE
        and turned < 2.0  # in a curve the client's nearest waypoint may be some centimetres further on
        and count == len(roadmap.spawn_points)
        and {kind for *_, kind in view["spawn points"]} == {"Driving"},
    )

    wrong, counted, kinds = _markings(roadmap, places, answers)
    yield Finding(
        f"the same markings beside the lanes on {title}",
        f"{counted} places, {wrong} different ({', '.join(sorted(kinds))})",
        wrong == 0,
    )


def _aside(pose: list[float], lane: list[float]) -> float:
    """Distance across the lane, metres.  Along the lane the client's nearest waypoint is only approximate."""
    yaw = np.radians(lane[3])
    return float(abs((pose[1] - lane[1]) * np.cos(yaw) - (pose[0] - lane[0]) * np.sin(yaw)))


def _road_s(lane: Lane, s: float) -> float:
    return float(np.interp(s, lane.s, lane.road_s))


def _gaps(places: list[tuple[Lane, float]], answers: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in metres and angles in degrees between the server's lanes and the client's."""
    gaps, turns = [], []
    for (lane, s), answer in zip(places, answers, strict=True):
        if answer is None:
            gaps.append(np.inf)
            continue
        point, heading = lane.at(s)
        gaps.append(float(np.linalg.norm(np.array(answer[:3]) - point)))
        turns.append(abs((answer[3] - heading + 180.0) % 360.0 - 180.0))
    return np.array(gaps), np.array(turns)


def _waypoints_off_lanes(roadmap: RoadMap, waypoints: list[list[float]]) -> float:
    """The largest distance, metres, between the client's waypoints and the server's lanes."""
    lanes = {(lane.road_id, lane.section, lane.lane_id): lane for lane in roadmap.lanes}
    furthest = 0.0
    for road, section, lane_id, road_s, x, y, z, _ in waypoints:
        lane = lanes.get((int(road), int(section), int(lane_id)))
        if lane is None:
            return np.inf
        order = np.argsort(lane.road_s)
        point, _ = lane.at(float(np.interp(road_s, lane.road_s[order], lane.s[order])))
        furthest = max(furthest, float(np.linalg.norm(np.array([x, y, z]) - point)))
    return furthest


def _topology(roadmap: RoadMap) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs of a driving lane and a successor, or of the lane and itself where it has none, as in CARLA."""

    return [
        (_key(lane), _key(roadmap.lanes[other]))
        for lane in roadmap.driving
        for other in lane.successors or [lane.id]
    ]


def _key(lane: Lane) -> tuple[int, ...]:
    return lane.road_id, lane.section, lane.lane_id


def _markings(
    roadmap: RoadMap, places: list[tuple[Lane, float]], answers: list[Any]
) -> tuple[int, int, set[str]]:
    """Number of places where type, colour or width differ, number of places compared, and types seen."""
    wrong, kinds = 0, set()
    for (lane, s), answer in zip(places, answers, strict=True):
        if answer is None:
            wrong += 1
            continue
        theirs = [mark and tuple(mark) for mark in answer[6:8]]
        ours = [mark_beside(roadmap, lane, s, outer) for outer in (False, True)]
        kinds |= {mark[0] for mark in theirs if mark}
        wrong += ours != theirs
    return wrong, len(places), kinds


def mark_beside(roadmap: RoadMap, lane: Lane, s: float, outer: bool) -> tuple[str, str, float] | None:
    """Type, colour and width of the marking on a side of a lane, as the client has them; None without one."""
    road = next(road for road in roadmap.data.roads.values() if str(road.id) == str(lane.road_id))
    section = road.sections[lane.section]
    beside = lane.lane_id if outer else lane.lane_id - (1 if lane.lane_id > 0 else -1)
    offset = _road_s(lane, s) - section.s
    marks: list[RoadMark] = [m for m in section.lanes[beside].marks if m.s_offset <= offset + 1e-6]
    if not marks:
        return None
    mark = marks[-1]
    if mark.kind == "none":
        return "NONE", "White", 0.0
    colour = _COLOURS.get(mark.colour, mark.colour.capitalize())
    return _TYPES.get(mark.kind, "Other"), colour, mark.width
