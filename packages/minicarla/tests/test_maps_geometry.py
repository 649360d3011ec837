"""Every kind of OpenDRIVE geometry, against closed forms and against CARLA's client."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from scipy.integrate import quad

from minicarla import maps
from minicarla.maps import curves
from minicarla.maps import opendrive as od
from minicarla.maps.curves import Geometry
from minicarla.maps.lane_index import REACH
from minicarla.maps.roadmap import RoadMap

from .conftest import need_client
from .small_maps import document

# Each road starts in a place and direction of its own, and carries one kind of geometry.
SHAPES = {
    "line": "<line/>",
    "arc": '<arc curvature="-0.02"/>',
    "spiral": '<spiral curvStart="0.0" curvEnd="0.05"/>',
    "spiral that changes sides": '<spiral curvStart="0.04" curvEnd="-0.03"/>',
    "poly3": '<poly3 a="0" b="0" c="0.004" d="-0.00003"/>',
    "paramPoly3 by length": '<paramPoly3 pRange="arcLength" aU="0" bU="1" cU="0.0005" dU="-0.000005"'
    ' aV="0" bV="0" cV="0.006" dV="-0.00005"/>',
    "paramPoly3 normalized": '<paramPoly3 pRange="normalized" aU="0" bU="60" cU="1" dU="0"'
    ' aV="0" bV="0" cV="20" dV="-9"/>',
}
LENGTH = 60.0


def road(number: int, shape: str) -> str:
    """A road with elevation, a lane offset, two sections, and widths that change."""

    def lane(i: int, width: str) -> str:
        return (
            f'<lane id="{i}" type="driving" level="false">'
            f'<link><predecessor id="{i}"/><successor id="{i}"/></link><width sOffset="0" {width}/>'
            '<roadMark sOffset="0" type="solid" color="white" width="0.15"/></lane>'
        )

    def section(s: float, width: str) -> str:
        return (
            f'<laneSection s="{s}"><left>{lane(1, width)}</left>'
            '<center><lane id="0" type="none" level="false">'
            '<roadMark sOffset="0" type="broken" color="yellow" width="0.15"/></lane></center>'
            f"<right>{lane(-1, width)}</right></laneSection>"
        )

    return (
        f'<road name="r" length="{LENGTH}" id="{number}" junction="-1"><link/>'
        f'<planView><geometry s="0" x="{150.0 * number}" y="{40.0 * number}" hdg="{0.4 * number}"'
        f' length="{LENGTH}">{shape}</geometry></planView>'
        '<elevationProfile><elevation s="0" a="1.5" b="0.03" c="0" d="0"/>'
        '<elevation s="30" a="2.4" b="0.03" c="-0.001" d="0"/></elevationProfile><lateralProfile/>'
        '<lanes><laneOffset s="0" a="0.5" b="0.01" c="0" d="0"/>'
        + section(0.0, 'a="3.5" b="0" c="0" d="0"')
        + section(25.0, 'a="3.5" b="0.02" c="0" d="0"')
        + "</lanes></road>"
    )


@pytest.mark.parametrize("name", SHAPES)
def test_a_clipped_piece_is_the_beginning_of_the_same_curve(name: str) -> None:
    (piece,) = od.parse(document(road(1, SHAPES[name]))).roads["1"].geometries
    clipped = piece.clipped(0.4 * LENGTH)
    assert clipped.length == 0.4 * LENGTH
    places = np.linspace(0.0, 0.4 * LENGTH, 50)
    for now, before in zip(clipped.at(places), piece.at(places), strict=True):
        # Of polynomials the length is summed over chords of WALK_STEP.
        np.testing.assert_allclose(now, before, rtol=0, atol=1e-5)


def test_a_long_spiral_is_integrated_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = Geometry(0.0, 0.0, 0.0, 0.0, 200.0, "spiral", (0.0, 0.4))
    places = np.linspace(0.0, 200.0, 101)
    whole = piece.at(places)
    monkeypatch.setattr(curves, "_SPIRAL_BLOCK", 3 * 160)  # three points at a time
    assert all(np.array_equal(a, b) for a, b in zip(whole, piece.at(places), strict=True))


def document_of(shapes: list[str]) -> str:
    return document(*(road(n, shape) for n, shape in enumerate(shapes)))


@pytest.fixture(scope="module")
def roadmap() -> RoadMap:
    text = document_of(list(SHAPES.values()))
    return RoadMap("geometry", text, od.parse(text))


CLIENT = """
import json, sys, carla
text, places = sys.stdin.read().split("\\0")
m = carla.Map("m", text)
out = []
for road, lane, s in json.loads(places):
    t = m.get_waypoint_xodr(road, lane, s).transform
    out.append([t.location.x, t.location.y, t.location.z, t.rotation.yaw])
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def client_view(roadmap) -> dict[tuple[int, int], list[tuple[float, list[float]]]]:
    """(road, lane) -> [(s, x y z yaw by the client)], from one child process for all."""
    need_client()
    places = [
        (number, lane, float(s))
        for number in range(len(SHAPES))
        for lane in (-1, 1)
        for s in np.linspace(1.0, LENGTH - 1.0, 30)
    ]
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        input=f"{roadmap.opendrive}\0{json.dumps(places)}",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen: dict[tuple[int, int], list[tuple[float, list[float]]]] = {}
    for (number, lane, s), pose in zip(places, json.loads(done.stdout), strict=True):
        seen.setdefault((number, lane), []).append((s, pose))
    return seen


@pytest.mark.parametrize("number, name", list(enumerate(SHAPES)))
@pytest.mark.parametrize("lane_id", [-1, 1])
def test_the_client_sees_the_same_curve(roadmap, client_view, number, name, lane_id):
    """Within 1 cm and a twentieth of a degree, between our points as well as on them."""
    sections = [lane for lane in roadmap.lanes if (lane.road_id, lane.lane_id) == (number, lane_id)]
    assert len(sections) == 2
    for s, (x, y, z, yaw) in client_view[number, lane_id]:
        lane = sections[0] if s < 25.0 else sections[1]
        order = np.argsort(lane.road_s)
        along = float(np.interp(s, lane.road_s[order], lane.s[order]))
        point, heading = lane.at(along)
        assert math.hypot(x - point[0], y - point[1]) < 0.01, (name, s)
        assert abs(z - point[2]) < 0.01, (name, s)
        assert abs((yaw - heading + 180.0) % 360.0 - 180.0) < 0.05, (name, s)


def test_sections_follow_each_other_without_a_step(roadmap):
    for lane in roadmap.lanes:
        for other in (roadmap.lanes[i] for i in lane.successors):
            assert np.linalg.norm(other.points[0] - lane.points[-1]) < 1e-6


@pytest.mark.parametrize("start, end, length", [(0.0, 0.1, 40.0), (0.05, -0.08, 120.0), (-0.3, 0.3, 50.0)])
def test_spirals_agree_with_the_integral_that_defines_them(start, end, length):
    piece = Geometry(0.0, 3.0, -2.0, 0.7, length, "spiral", (start, end))
    d = np.linspace(0.0, length, 9)
    x, y, heading = piece.at(d)

    def turn(t: float) -> float:
        return 0.7 + start * t + 0.5 * (end - start) / length * t * t

    for i, distance in enumerate(d):
        assert x[i] == pytest.approx(
            3.0 + quad(lambda t: math.cos(turn(t)), 0, distance, limit=200)[0], abs=1e-8
        )
        assert y[i] == pytest.approx(
            -2.0 + quad(lambda t: math.sin(turn(t)), 0, distance, limit=200)[0], abs=1e-8
        )
        assert heading[i] == pytest.approx(turn(distance))


def test_poly3_is_walked_by_its_arc_length():
    piece = Geometry(0.0, 0.0, 0.0, 0.0, 30.0, "poly3", (0.0, 0.0, 0.02, 0.0))
    x, y, heading = piece.at(np.linspace(0.0, 30.0, 3001))
    assert np.allclose(y, 0.02 * x**2)
    assert np.hypot(np.diff(x), np.diff(y)) == pytest.approx(0.01, rel=1e-3)
    assert np.allclose(np.tan(heading), 0.04 * x)


def test_left_hand_traffic_drives_on_the_other_side():
    text = document_of([SHAPES["line"]])
    left = RoadMap("l", text, od.parse(text.replace('junction="-1"', 'junction="-1" rule="LHT"', 1)))
    right = RoadMap("r", text, od.parse(text))
    for a, b in zip(left.lanes, right.lanes, strict=True):
        assert np.allclose(a.points, b.points[::-1])
        assert np.allclose((a.headings - b.headings[::-1]) % 360.0, 180.0)


@pytest.mark.slow
def test_locate_finds_what_a_search_of_all_lanes_finds():
    town = maps.load("town")
    x0, y0, x1, y1 = town.bounds
    points = np.random.default_rng(3).uniform((x0, y0), (x1, y1), (3000, 2))
    lanes, s, lateral = town.locate_many(points)
    starts = np.concatenate([lane.points[:-1, :2] for lane in town.driving])
    vectors = np.concatenate([np.diff(lane.points[:, :2], axis=0) for lane in town.driving])
    nearest = np.empty(len(points))
    for i, point in enumerate(points):
        share = ((point - starts) * vectors).sum(1) / (vectors**2).sum(1)
        gap = point - starts - np.clip(share, 0, 1)[:, None] * vectors
        nearest[i] = np.hypot(gap[:, 0], gap[:, 1]).min()
    found = lanes >= 0
    assert (found == (nearest <= REACH)).all() and 0.1 < found.mean() < 0.9
    # Beside the lane the lateral offset is the distance; where several lanes are as near, any will do.
    for i in np.flatnonzero(found)[::7]:
        place, heading = town.lanes[lanes[i]].at(s[i])
        right = np.array([-math.sin(math.radians(heading)), math.cos(math.radians(heading))])
        assert np.hypot(*(points[i] - place[:2])) == pytest.approx(nearest[i], abs=0.01)
        assert (points[i] - place[:2]) @ right == pytest.approx(lateral[i], abs=0.03)
    nowhere = np.array([[np.nan, 0.0], [np.inf, 1.0], [1e300, -1e300], [-1e9, 5.0]])
    assert (town.locate_many(nowhere)[0] == -1).all()


@pytest.mark.slow
def test_damaged_maps_are_refused_or_loaded_but_never_break_the_server():
    """Any number replaced, any stretch cut out: OpenDriveError or a map, within bounded memory."""
    text = maps.load("loop").opendrive
    numbers = [(m.start(1), m.end(1)) for m in re.finditer(r'"([-0-9.e]+)"', text)]
    random = Random(5)
    outcomes = set()
    for _ in range(150):
        if random.random() < 0.8:
            a, b = random.choice(numbers)
            bad = random.choice(["-1", "0", "1e9", "-1e300", "nan", "inf", "99999999999", "x", "", "1e-9"])
        else:
            a = random.randrange(len(text))
            b, bad = a + random.randint(1, 400), ""
        damaged = text[:a] + bad + text[b:]
        try:
            roadmap = RoadMap("damaged", damaged, od.parse(damaged))
        except od.OpenDriveError as error:
            assert str(error)
            outcomes.add("refused")
        else:
            assert np.isfinite(np.concatenate([lane.points for lane in roadmap.lanes])).all()
            assert np.isfinite(roadmap.bounds).all()
            roadmap.locate(0.0, 0.0)
            outcomes.add("loaded")
    assert outcomes == {"refused", "loaded"}
