"""The bundled maps, and that the geometry is the one that CARLA's client sees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicarla import maps
from minicarla.geometry import Pose, compose
from minicarla.maps.opendrive import OpenDriveError
from minicarla.maps.opendrive import parse as parse_opendrive
from minicarla.maps.roadmap import RoadMap
from minicarla.maps.spawn_points import BOX as SPAWN_BOX
from minicarla.maps.spawn_points import _apart

from . import small_maps
from .conftest import need_client
from .small_maps import ONE_LANE

TOWN01 = Path(__file__).parents[4] / "shared" / "maps" / "Town01.xodr"


def road_map_of(text: str) -> RoadMap:
    return RoadMap("changed", text, parse_opendrive(text))


def road_map(name: str) -> RoadMap:
    """Without scenery, which these tests do not need."""
    path = Path(name) if name.endswith(".xodr") else Path(maps.__file__).parent / "data" / f"{name}.xodr"
    text = path.read_text()
    return RoadMap(path.stem, text, parse_opendrive(text))


NAMES = [*small_maps.BUNDLED]
if TOWN01.exists():  # CARLA's is no part of the project
    NAMES.append(pytest.param(str(TOWN01), id="Town01"))


@pytest.fixture(params=NAMES, scope="module")
def roadmap(request):
    return road_map(request.param)


def test_every_lane_leads_on_without_a_gap(roadmap):
    for lane in roadmap.driving:
        assert lane.successors, f"lane {lane.road_id}/{lane.lane_id} is a dead end"
        for other in (roadmap.lanes[i] for i in lane.successors):
            assert np.hypot(*(other.points[0] - lane.points[-1])[:2]) < 0.01
            assert abs((other.headings[0] - lane.headings[-1] + 180) % 360 - 180) < 0.5
            assert lane.id in other.predecessors


def test_spawn_points_lie_on_lanes_in_the_direction_of_travel(roadmap):
    points = roadmap.spawn_points
    assert len(points) >= 50
    ids, s, lateral = roadmap.locate_many(np.array([[p.x, p.y] for p in points]))
    assert (ids >= 0).all() and np.abs(lateral).max() < 0.01
    for point, lane_id, along in zip(points, ids, s, strict=True):
        lane = roadmap.lanes[lane_id]
        assert lane.junction == -1
        _, heading = lane.at(float(along))
        assert abs((point.yaw - heading + 180) % 360 - 180) < 0.5
        assert point.z == pytest.approx(0.5, abs=0.01)


def test_vehicles_can_stand_at_all_spawn_points_at_once():
    """Where lanes run into each other, the later of two poses in one place is left out."""
    pose = Pose(10.0, 20.0, 0.5, yaw=30.0)
    beside, before = (compose(pose, Pose(x, y)) for x, y in ((0.0, 3.0), (7.0, 0.0)))
    across = compose(pose, Pose(2.0, 3.0, yaw=90.0))  # no corner of either lies within the other
    above = pose._replace(z=6.0)
    assert _apart([pose, beside, before, above]) == [pose, beside, before, above]
    assert _apart([pose, across, before]) == [pose, before]
    assert _apart([across, pose, before]) == [across, before]
    assert _apart([before, pose, across, beside]) == [before, pose, beside]
    assert _apart([]) == []


def test_a_lane_that_ends_blindly_has_a_spawn_point_where_it_begins():
    """As in CARLA, every lane of a road outside junctions can be entered."""
    roadmap = maps.parse(small_maps.straight(length=80.0), "dead ends")
    places = sorted((round(p.x, 6), p.y, round(p.yaw) % 360) for p in roadmap.spawn_points)
    assert places == [(SPAWN_BOX[0], 1.75, 0), (80.0 - SPAWN_BOX[0], -1.75, 180)]
    # Of a road in sections the first one of each direction leads on and has points all along; the last
    # one ends blindly, and is not where one enters the road.
    lanes = "".join(small_maps.section(ONE_LANE, ONE_LANE, s=s) for s in (0.0, 40.0))
    roadmap = maps.parse(small_maps.document(small_maps.road(1, 80.0, lanes)), "sections")
    places = sorted((round(p.x, 6), p.y) for p in roadmap.spawn_points)
    assert places == [*((x, 1.75) for x in (12.0, 20.0, 28.0)), *((x, -1.75) for x in (52.0, 60.0, 68.0))]


def test_a_map_of_short_streets_has_spawn_points():
    """Streets on which the distance kept from both ends leaves no room, and a lane that is too narrow."""
    link = '<successor elementType="road" elementId="2" contactPoint="start"/>'
    plan = small_maps.geometry(15.0, 15.0)
    lanes = small_maps.section(ONE_LANE)
    first, second = small_maps.road(1, 15.0, lanes, link=link), small_maps.road(2, 15.0, lanes, plan=plan)
    roadmap = maps.parse(small_maps.document(first, second), "short")
    assert [p.x for p in roadmap.spawn_points] == pytest.approx([SPAWN_BOX[0], 15.0 + SPAWN_BOX[0]])
    narrow = small_maps.straight(side=(("driving", 0.9),))
    assert maps.parse(narrow, "narrow").spawn_points == []


def test_locate_agrees_with_where_a_point_was_put(roadmap):
    rng = np.random.default_rng(0)
    lanes = [lane for lane in roadmap.driving if lane.junction == -1 and lane.length > 5]
    for lane in rng.choice(np.array(lanes, object), 100):
        s, offset = rng.uniform(1, lane.length - 1), rng.uniform(-1.5, 1.5)
        point, heading = lane.at(s)
        right = np.array([-np.sin(np.radians(heading)), np.cos(np.radians(heading))])
        place = roadmap.locate(*(point[:2] + offset * right))
        assert place is not None
        assert place[0] == lane.id
        assert place[1] == pytest.approx(s, abs=0.05) and place[2] == pytest.approx(offset, abs=0.02)
    assert roadmap.locate(1e4, 1e4) is None


CLIENT = """
import json, sys, carla
text, points = open(sys.argv[1]).read(), json.load(sys.stdin)
m = carla.Map("m", text)
out = []
for road, lane, s in points:
    w = m.get_waypoint_xodr(road, lane, s)
    t = w.transform
    out.append([t.location.x, t.location.y, t.location.z, t.rotation.yaw, w.lane_width])
    # and the other way round: the nearest lane of that place is this one
    n = m.get_waypoint(t.location)
    assert (n.road_id, n.lane_id) == (road, lane), (n.road_id, n.lane_id, road, lane)
# Drive on for a few kilometres, taking every branch in turn.
w, turn = m.get_waypoint_xodr(*points[0]), 0
for _ in range(1500):
    following = w.next(2.0)
    assert following, f"dead end on road {w.road_id}"
    turn += len(following) > 1
    w = following[turn % len(following)]
print(json.dumps({"waypoints": out, "topology": len(m.get_topology())}))
"""


def test_the_client_sees_the_same_lanes(roadmap, tmp_path):
    """Positions within 1 cm, headings, road and lane ids, and a drive without dead ends."""
    need_client()
    rng = np.random.default_rng(1)
    outside = [lane for lane in roadmap.driving if lane.junction == -1]
    picks = []
    for lane in rng.choice(np.array(outside, object), 60):
        k = rng.integers(1, len(lane.points) - 1)
        picks.append((lane, k, (lane.road_id, lane.lane_id, float(lane.road_s[k]))))
    file = tmp_path / "map.xodr"
    file.write_text(roadmap.opendrive)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(file)],
        input=json.dumps([place for _, _, place in picks]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["topology"] > 0
    for (lane, k, _), (x, y, z, yaw, width) in zip(picks, result["waypoints"], strict=True):
        point, heading = lane.points[k], lane.headings[k]
        assert np.hypot(x - point[0], y - point[1]) < 0.01, (lane.road_id, lane.lane_id)
        assert abs(z - point[2]) < 0.01
        assert abs((yaw - heading + 180) % 360 - 180) < 0.1
        assert width == pytest.approx(lane.width, abs=0.01)


def test_town_has_the_size_and_the_features_it_promises():
    town = road_map("town")
    x0, y0, x1, y1 = town.bounds
    assert 380 < x1 - x0 < 440 and 320 < y1 - y0 < 380
    assert len(town.spawn_points) >= 100
    assert len(town.data.junctions) >= 10
    arms = {len({c.incoming for c in j.connections}) for j in town.data.junctions.values()}
    assert {3, 4} <= arms
    curvature = [
        g.max_curvature for r in town.data.roads.values() if r.junction == "-1" for g in r.geometries
    ]
    assert any(k > 1 / 16 for k in curvature) and any(k == 0 for k in curvature)


def test_grid_has_traffic_lights_with_controllers():
    grid = road_map("grid")
    lights = [s for r in grid.data.roads.values() for s in r.signals if s.kind == "1000001"]
    assert len(lights) >= 8
    switched = {s for members in grid.data.controllers.values() for s in members}
    assert switched == {s.id for s in lights}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not well-formed"),
        ("<html/>", "root element"),
        ("<OpenDRIVE/>", "no <road>"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><OpenDRIVE>&a;</OpenDRIVE>', "not accepted"),
        ('<OpenDRIVE><road id="1" length="nan"/></OpenDRIVE>', "not a number"),
        ('<OpenDRIVE><road id="1" length="5"/></OpenDRIVE>', "no <geometry>"),
    ],
)
def test_bad_maps_are_refused_with_a_reason(text, message):
    with pytest.raises(OpenDriveError, match=message):
        parse_opendrive(text)


def test_a_limit_stays_in_force_where_the_map_states_none():
    """Junctions mostly state none: a vehicle must not be told to hurry up in one."""
    text = road_map("town").opendrive
    slow = re.sub(r'<speed max="30"[^>]*>', "", text)  # those of the junctions
    for lane in road_map_of(slow).driving:
        assert 3.6 * lane.speed_limit == pytest.approx(50.0), lane
    streets = slow.replace('<speed max="50"', '<speed max="20"')
    assert {round(3.6 * lane.speed_limit) for lane in road_map_of(streets).driving} == {20}
    bare = re.sub(r"<speed [^>]*>", "", text)
    assert {round(3.6 * lane.speed_limit) for lane in road_map_of(bare).driving} == {50}


def test_unknown_map_names_the_ones_there_are():
    with pytest.raises(FileNotFoundError, match=", ".join(maps.available())):
        maps.load("atlantis")
