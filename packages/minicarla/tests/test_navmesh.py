"""The navigation mesh: polygons that Detour can use, on sidewalks, that hang together; and their bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minicarla import maps
from minicarla.maps import navmesh
from minicarla.maps.navmesh import Area
from minicarla.maps.navmesh import file as navmesh_file
from minicarla.traffic.walkers import places

from .small_maps import BUNDLED, height, straight

WALKED = (Area.SIDEWALK, Area.CROSSWALK)


@pytest.fixture(scope="module", params=BUNDLED)
def world(request):
    roadmap = maps.load(request.param)
    return roadmap, navmesh.build(roadmap)


def _along(lanes, kind: str):
    """Points along the middle of every lane of a kind, a metre apart: (n, 3)."""
    points = []
    for lane in lanes:
        if lane.kind == kind:
            s = np.arange(1.0, lane.length - 1.0, 1.0)
            points.append(np.stack([np.interp(s, lane.s, lane.points[:, k]) for k in range(3)], 1))
    return np.concatenate(points)


def test_polygons_are_convex_and_neighbours_agree(world):
    _, mesh = world
    for polygon, (loop, beyond) in enumerate(zip(mesh.polygons, mesh.neighbours, strict=True)):
        assert 3 <= len(loop) <= navmesh_file.MOST_SIDES and len(set(loop)) == len(loop)
        points = mesh.vertices[list(loop), :2]
        ahead, behind = np.roll(points, -1, 0) - points, points - np.roll(points, 1, 0)
        turn = behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0]
        assert (turn < 0.0).all(), "not convex, or the wrong way round"
        for k, other in enumerate(beyond):
            if other >= 0:
                edge = loop[(k + 1) % len(loop)], loop[k]
                theirs = mesh.polygons[other]
                at = [(theirs[i], theirs[(i + 1) % len(theirs)]) for i in range(len(theirs))].index(edge)
                assert mesh.neighbours[other][at] == polygon


def test_sidewalks_are_covered_and_the_roads_are_not(world):
    roadmap, mesh = world
    on_sidewalks = _along(roadmap.lanes, "sidewalk")[::3]
    found = [mesh.find(x, y) for x, y, _ in on_sidewalks]
    assert np.mean([p is not None and mesh.areas[p] is Area.SIDEWALK for p in found]) > 0.99
    for x, y, _ in _along(roadmap.lanes, "driving")[::7]:
        polygon = mesh.find(x, y)
        assert polygon is None or mesh.areas[polygon] is not Area.SIDEWALK


def test_all_sidewalks_hang_together_over_crossings_alone(world):
    _, mesh = world
    parts = {int(part) for part, area in zip(mesh.components, mesh.areas, strict=True) if area in WALKED}
    assert len(parts) == 1
    assert Area.CROSSWALK in mesh.areas


def test_without_crossings_the_sides_of_a_road_are_apart():
    """What the test above relies on: parts are told apart at all."""
    mesh = navmesh.build(maps.load("loop"))
    areas = [Area.ROAD if area is Area.CROSSWALK else area for area in mesh.areas]
    cut = navmesh.NavMesh(mesh.vertices, mesh.polygons, areas, mesh.neighbours)
    parts = {int(p) for p, area in zip(cut.components, areas, strict=True) if area is Area.SIDEWALK}
    assert len(parts) == 2


def test_random_places_are_on_sidewalks(world):
    roadmap, mesh = world
    spots = places(mesh, 300, seed=1)
    assert all(mesh.areas[mesh.find(x, y)] is Area.SIDEWALK for x, y, _ in spots)
    assert spots == places(mesh, 300, seed=1) != places(mesh, 300, seed=2)
    x0, y0, x1, y1 = roadmap.bounds
    low, high = np.min(spots, axis=0), np.max(spots, axis=0)
    assert high[0] - low[0] > 0.9 * (x1 - x0) and high[1] - low[1] > 0.9 * (y1 - y0)


def test_file_reads_back(world):
    _, mesh = world
    tables = navmesh_file.unpack(mesh.file)
    polys, header = tables["polys"], tables["header"][0]
    assert np.allclose(tables["verts"][:, [0, 2, 1]], mesh.vertices, atol=1e-4)
    for poly, loop, beyond, area in zip(polys, mesh.polygons, mesh.neighbours, mesh.areas, strict=True):
        n = poly["vert_count"]
        assert tuple(poly["verts"][:n]) == loop and tuple(poly["neis"][:n].astype(int) - 1) == beyond
        assert poly["area_and_type"] == area and poly["flags"] == 1 << area
    # Every polygon is found by the boxes that lie around it, and the skips end where the tree does.
    leaves = {}
    boxes = np.concatenate([tables["nodes"]["bmin"], tables["nodes"]["bmax"]], 1).astype(float)
    for k, node in enumerate(tables["nodes"]):
        if node["i"] >= 0:
            leaves[int(node["i"])] = k
        else:
            inside = slice(k, k - int(node["i"]))
            assert inside.stop <= len(boxes)
            assert (boxes[inside, :3] >= boxes[k, :3]).all() and (boxes[inside, 3:] <= boxes[k, 3:]).all()
    assert sorted(leaves) == list(range(len(polys)))
    for polygon, loop in enumerate(mesh.polygons):
        box = boxes[leaves[polygon]] / header["bv_quant_factor"] + np.tile(header["bmin"], 2)
        points = tables["verts"][list(loop)]
        assert (points >= box[:3] - 1e-3).all() and (points <= box[3:] + 1e-3).all()
    assert mesh.file == navmesh.build(world[0]).file, "the same map gives the same bytes"


def test_name_of_the_file_tells_its_contents_and_leads_nowhere_else(world):
    _, mesh = world
    other = navmesh.NavMesh(mesh.vertices + 1.0, mesh.polygons, mesh.areas, mesh.neighbours, mesh.name)
    assert other.file_name != mesh.file_name
    odd = navmesh.NavMesh(mesh.vertices, mesh.polygons, mesh.areas, mesh.neighbours, "../../x y/" + 99 * "z")
    assert ".." not in odd.file_name and odd.file_name.count("/") == 2 and len(odd.file_name) < 120


def test_a_damaged_file_is_told():
    data = navmesh.build(maps.load("loop")).file
    for damaged in (data[:-4], data + b"\0\0\0\0", b"\0" * 200):
        with pytest.raises(ValueError):
            navmesh_file.unpack(damaged)


def _road(text: str):
    return maps.parse(text, "road")


@pytest.mark.parametrize(
    ("lanes", "inner", "outer"),
    [
        ([("driving", 3.5)], 3.5, 3.5 + navmesh.STRIP_WIDTH),  # a strip beside the road
        ([("driving", 3.5), ("shoulder", 2.0)], 3.5, 5.5),  # the shoulder
        ([("driving", 3.5), ("shoulder", 0.5)], 4.0, 4.0 + navmesh.STRIP_WIDTH),  # too narrow a shoulder
        ([("driving", 3.5), ("shoulder", 1.0), ("sidewalk", 2.0)], 4.5, 6.5),
    ],
)
def test_where_one_walks_along_a_road(lanes, inner, outer):
    mesh = navmesh.build(_road(straight(lanes)))
    for side in (-1.0, 1.0):
        for y, expected in (
            (0.5 * (inner + outer), Area.SIDEWALK),
            (inner + 0.1, Area.ROAD),  # a walker's width is kept from the kerb
            (outer - 0.1, None),
            (1.0, Area.ROAD),
        ):
            polygon = mesh.find(20.0, side * y)
            assert (None if polygon is None else mesh.areas[polygon]) is expected, (side, y)
    crossing = mesh.find(40.0, 0.0)
    assert mesh.areas[crossing] is Area.CROSSWALK, "in the middle of a street without junctions"


def test_no_sidewalk_lies_on_a_road_that_crosses_it():
    walked = [("driving", 3.5), ("sidewalk", 2.0)]
    for above, expected in ((0.0, False), (6.0, True)):
        mesh = navmesh.build(_road(straight(walked, across=[("driving", 3.0)], above=above)))

        def on_sidewalk(x: float, mesh=mesh) -> bool:
            polygon = mesh.find(x, 4.5)
            return polygon is not None and mesh.areas[polygon] is Area.SIDEWALK

        assert [on_sidewalk(x) for x in (38.0, 40.0, 42.5)] == [expected] * 3, "below a bridge there is room"
        assert all(on_sidewalk(x) for x in (1.0, 30.0, 34.0, 46.0, 60.0, 79.0)), "the rest of it stays"


def test_the_mesh_lies_on_the_ground_of_a_hill():
    roadmap = _road(straight([("driving", 3.5), ("sidewalk", 2.0)], elevation=height(3.0, 0.05)))
    mesh = navmesh.build(roadmap)
    assert np.allclose(mesh.vertices[:, 2], 3.0 + 0.05 * mesh.vertices[:, 0], atol=1e-6)
    for x, _, z in places(mesh, 50, seed=0):
        assert abs(z - (3.0 + 0.05 * x)) < 0.05


def test_corners_of_a_junction_without_sidewalks_are_joined():
    """A junction whose own roads have none: strips lead around its corners."""
    root = ET.fromstring(maps.load("grid").opendrive)
    for road in root.findall("road"):
        if road.get("junction") != "-1":
            for side in road.iter("right"):
                for lane in [lane for lane in side.findall("lane") if lane.get("type") == "sidewalk"]:
                    side.remove(lane)
    mesh = navmesh.build(maps.parse(ET.tostring(root, encoding="unicode"), "bare"))
    assert len({int(p) for p, a in zip(mesh.components, mesh.areas, strict=True) if a in WALKED}) == 1
