"""Degenerate and damaged OpenDRIVE: loaded and usable, or refused with a reason."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from minicarla import maps
from minicarla.maps.opendrive import OpenDriveError, decode
from minicarla.sensors.raster.ground import marking_outlines

from .damaged_maps import SMALL, Laboratory, damage
from .small_maps import ONE_LANE, document, geometry, lane, mark, road, section


@pytest.fixture(scope="module")
def laboratory() -> Laboratory:
    return Laboratory()


def one_road(sections: str = "", length: float = 200.0, plan: str | None = None, **options: str) -> str:
    return document(road(1, length, sections or section(ONE_LANE, ONE_LANE), plan=plan, **options))


def with_marks(*marks: str) -> str:
    return one_road(section(ONE_LANE, ONE_LANE, centre="".join(marks)))


def with_widths(*records: tuple[float, float]) -> str:
    """A road whose right lane has the width records (s offset, metres)."""
    widths = "".join(f'<width sOffset="{s!r}" a="{a}" b="0" c="0" d="0"/>' for s, a in records)
    return re.sub(r'(<lane id="-1".*?)<width [^>]*>', rf"\1{widths}", one_road(), count=1)


def chain(middle: float) -> str:
    """Three roads in a row, the one in the middle ``middle`` metres long, with links between them."""
    roads = []
    for number, (start, length) in enumerate(((0.0, 50.0), (50.0, middle), (50.0 + middle, 50.0)), 1):
        before, after = (
            f'<{side} elementType="road" elementId="{other}" contactPoint="{contact}"/>'
            if 1 <= other <= 3
            else ""
            for side, other, contact in (
                ("predecessor", number - 1, "end"),
                ("successor", number + 1, "start"),
            )
        )
        plan = geometry(length, start)
        roads.append(road(number, length, section(ONE_LANE, ONE_LANE), plan=plan, link=before + after))
    return document(*roads)


DEGENERATE = {
    "a line that ends with its road": with_marks(mark(0.0), mark(199.9999999995, "broken")),
    "a line that begins with its road": with_marks(mark(5e-10), mark(1e-9)),
    "two lines from one place on": with_marks(
        mark(0.0), mark(50.0), mark(50.0, "broken"), mark(50.0 + 5e-10)
    ),
    "a line beyond the end": with_marks(mark(0.0), mark(500.0)),
    "a line of no width": with_marks(mark(0.0).replace('width="0.15"', 'width="0"')),
    "a line of absurd width": with_marks(mark(0.0).replace('width="0.15"', 'width="1e9"')),
    "a line whose width is no number": with_marks(mark(0.0).replace('width="0.15"', 'width=""')),
    "a driving lane of width 0": with_widths((0.0, 0.0)),
    "a lane that is a little narrower than nothing": with_widths((0.0, -1e-9)),
    "no width at all": with_widths(),
    "two widths from one place on": with_widths((0.0, 3.5), (50.0, 3.5), (50.0, 3.0), (50.0 + 1e-10, 3.5)),
    "a width beyond the end": with_widths((0.0, 3.5), (200.0, 3.0), (400.0, 2.0)),
    "a section of no length": one_road(section(ONE_LANE, ONE_LANE) + section(ONE_LANE, ONE_LANE, s=0.0)),
    "a section at the end": one_road(section(ONE_LANE, ONE_LANE) + section(ONE_LANE, ONE_LANE, s=200.0)),
    "a sliver of a section": one_road(section(ONE_LANE, ONE_LANE) + section(ONE_LANE, ONE_LANE, s=5e-10)),
    "a section beyond the end": one_road(section(ONE_LANE, ONE_LANE) + section(ONE_LANE, ONE_LANE, s=300.0)),
    "a piece of no length": one_road(plan=geometry(0.0) + geometry(200.0)),
    "a piece of no length at the end": one_road(plan=geometry(200.0) + geometry(0.0, 200.0, s=200.0)),
    "a spiral of no length": one_road(
        plan=geometry(200.0) + geometry(0.0, 200.0, shape='<spiral curvStart="0" curvEnd="0.1"/>', s=200.0)
    ),
    "a piece twice": one_road(plan=geometry(200.0) * 2),
    "pieces shorter than the road": one_road(plan=geometry(120.0)),
    "a piece beyond the end": one_road(plan=geometry(200.0) + geometry(50.0, 300.0, s=300.0)),
    "two heights in one place": one_road(
        elevation='<elevation s="9" a="1" b="0" c="0" d="0"/>' * 2
        + '<elevation s="9.0000000001" a="1" b="0.01" c="0" d="0"/>'
    ),
    "a road of no length": chain(0.0),
    "a sliver of a road": chain(5e-10),
    "two roads in one place": document(*(road(n, 80.0, section(ONE_LANE)) for n in (1, 2))),
    "hilly roads at the ends of the world": document(
        *(
            road(
                n,
                80.0,
                section(ONE_LANE),
                plan=geometry(80.0, x, x),
                elevation='<elevation s="0" a="5" b="0" c="0" d="0"/>',
            )
            for n, x in ((1, 9e5), (2, -9e5))
        )
    ),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_geometry_can_be_driven_on_and_seen(laboratory, name):
    assert laboratory.try_text(DEGENERATE[name]) is not None


NOWHERE = '<paramPoly3 pRange="arcLength" aU="0" bU="0" cU="0" dU="0" aV="0" bV="0" cV="0" dV="0"/>'


@pytest.mark.parametrize("shape", [NOWHERE, NOWHERE.replace("arcLength", "normalized"), "<line/>"])
def test_pieces_are_no_longer_than_up_to_the_next_one(shape):
    """A road of 200 m whose pieces say that each is 100 km long; the server had computed all of them."""
    plan = "".join(geometry(99_999.0, s, shape=shape, s=s) for s in range(200))
    roadmap = maps.parse(one_road(plan=plan), "overlong")
    pieces = roadmap.data.roads["1"].geometries
    assert [piece.length for piece in pieces] == 200 * [1.0]
    assert sum(piece.samples for piece in pieces) <= 200 * 64


def test_a_bend_that_is_over_makes_no_points():
    bend = geometry(99_999.0, shape='<arc curvature="0.5"/>')
    roadmap = maps.parse(one_road(plan=bend + geometry(199.0, 1.0, s=1.0)), "bend")
    assert len(roadmap.driving[0].points) < 130, "one for every 2 m, and some in the bend"


def test_curves_that_are_too_long_together_are_refused_at_once():
    roads = [
        road(n, 99_990.0, section(ONE_LANE), plan=geometry(99_990.0, 0.0, 9.0 * n, shape=NOWHERE))
        for n in range(1, 60)
    ]
    with pytest.raises(OpenDriveError, match="road '41': the map's curves are longer than can be held"):
        maps.parse(document(*roads), "long")


@pytest.mark.parametrize("middle", [0.0, 5e-10, 1e-4])
def test_roads_and_sections_without_length_lead_on(middle):
    """They hold no lanes, but they must not cut the road in two."""
    roadmap = maps.parse(chain(middle), "chain")
    assert {lane.road_id for lane in roadmap.driving} == {1, 3}
    leading = {
        (lane.road_id, lane.lane_id): [roadmap.lanes[i] for i in lane.successors] for lane in roadmap.driving
    }
    assert [lane.road_id for lane in leading[1, -1]] == [3]
    assert [lane.road_id for lane in leading[3, 1]] == [1]
    assert leading[3, -1] == leading[1, 1] == []
    twin = section(ONE_LANE, ONE_LANE, s=100.0)
    cut = one_road(section(ONE_LANE, ONE_LANE) + twin * 2 + section(ONE_LANE, ONE_LANE, s=100.0 + middle))
    lanes = maps.parse(cut, "cut").driving
    assert len(lanes) == 4
    assert sorted(len(lane.successors) for lane in lanes) == [0, 0, 1, 1]


def test_roads_without_length_that_lead_to_each_other_end_somewhere():
    links = [
        f'<predecessor elementType="road" elementId="{3 - n}" contactPoint="end"/>'
        f'<successor elementType="road" elementId="{3 - n}" contactPoint="start"/>'
        for n in (1, 2)
    ]
    rings = [road(n, 0.0, section(ONE_LANE, ONE_LANE), link=link) for n, link in enumerate(links, 1)]
    into = '<successor elementType="road" elementId="1" contactPoint="start"/>'
    roadmap = maps.parse(document(*rings, road(3, 60.0, section(ONE_LANE), link=into)), "ring")
    assert [lane.successors for lane in roadmap.driving] == [[]]


def test_a_line_without_length_has_no_paint():
    roadmap = maps.parse(DEGENERATE["a line that ends with its road"], "marks")
    outlines = [outline for line in roadmap.markings() for outline in marking_outlines(line)]
    assert outlines and np.isfinite(np.concatenate(outlines)).all()
    centre = [line for line in roadmap.markings() if np.abs(line.points[:, 1]).max() == 0.0]
    assert [line.points[[0, -1], 0].tolist() for line in centre] == [[0.0, 200.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (one_road(length=float("nan")), "road '1': <road> has length='nan', which is not a number"),
        (one_road(length=-5.0), "road '1': its length is -5"),
        (one_road(length=1e9), "road '1': its length is 1e[+]09"),
        (one_road(plan=geometry(-1.0)), "a <geometry> has the length -1"),
        (one_road(plan=geometry(200.0, x=1e300)), "<geometry> has x=1e[+]300; at most"),
        (one_road(plan=geometry(200.0, s=-1e300)), "<geometry> has s=-1e[+]300"),
        (one_road(plan=geometry(200.0, heading=float("inf"))), "hdg='inf', which is not a number"),
        (
            one_road(plan=geometry(200.0, shape='<arc curvature="1e6"/>')),
            "curvature=1000000.0; at most 10 1/m",
        ),
        (with_widths((0.0, 1e6)), "road '1': lane -1 leaves the map or is too wide"),
        (with_widths((0.0, -1e6)), "road '1': lane -1 leaves the map or is too wide"),
        (one_road(section(ONE_LANE, s=1e12)), "<laneSection> has s=1e[+]12"),
        (one_road(section(())), "the map has no lane of type 'driving'"),
        (document(road(1, 0.0, section(ONE_LANE))), "the map has no lane of type 'driving'"),
        (
            one_road().replace('lane id="-1"', 'lane id="-1e9"'),
            "id=-1e[+]09, which is not the number of a lane",
        ),
    ],
)
def test_absurd_numbers_are_refused_with_the_place_and_the_reason(text, message):
    with pytest.raises(OpenDriveError, match=message):
        maps.parse(text, "absurd")


def test_a_road_may_have_a_gap(laboratory):
    assert laboratory.try_text(one_road(plan=geometry(100.0) + geometry(100.0, 900.0, s=100.0))) is not None


def test_pieces_that_lie_far_apart_again_and_again_are_refused_at_once():
    pieces = "".join(geometry(1.0, 9e5 * (-1) ** k, s=float(k)) for k in range(200))
    with pytest.raises(OpenDriveError, match="the pieces of the roads do not meet"):
        maps.parse(one_road(plan=pieces), "scattered")


SOUND = one_road()


@pytest.mark.parametrize(
    "before",
    ["\ufeff", "\n\n  ", "<!-- made by a converter -->\n", "\ufeff <!-- a --><!--\n b > c --> \n", ""],
)
def test_what_stands_before_the_xml_declaration_is_passed_over(before, tmp_path):
    """As CARLA's own parser does, in a text from a client and in a file."""
    assert maps.parse(before + SOUND, "text").opendrive == before + SOUND
    file = tmp_path / "map.xodr"
    file.write_text(before + SOUND, "utf-8")
    assert len(maps.load(str(file)).driving) == 2


def test_other_things_before_the_declaration_are_still_refused():
    for before in ("x", "<!-- open ", "<a/>"):
        with pytest.raises(OpenDriveError, match="not well-formed"):
            maps.parse(before + SOUND, "text")
    with pytest.raises(OpenDriveError, match="not accepted"):
        maps.parse("<!-- c -->" + SOUND.replace("<OpenDRIVE>", "<!DOCTYPE a><OpenDRIVE>"), "text")


def test_files_in_other_encodings():
    named = SOUND.replace('name="road 1"', 'name="Straße"')
    latin = named.replace('version="1.0"', 'version="1.0" encoding="ISO-8859-1"', 1)
    for data in (named.encode(), named.encode("utf-8-sig"), named.encode("utf-16"), latin.encode("latin-1")):
        assert "Straße" in decode(data)
        maps.parse(decode(data), "coded")
    for data in (
        named.encode("latin-1"),
        latin.replace("ISO-8859-1", "klingon").encode("latin-1"),
        b"\xff\xfe\xff",
    ):
        with pytest.raises(OpenDriveError, match="not text"):
            decode(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_slightly_damaged_maps_load_or_are_refused(laboratory, name):
    """The short form of ``python -m verification.opendrive_fuzz``; every text comes from its seed."""
    assert laboratory.try_text(SMALL[name]) is not None
    for seed in range(10):
        text = damage(SMALL[name], random.Random(f"{name} {seed}"))
        try:
            laboratory.try_text(text)
        except Exception as error:
            raise AssertionError(f"the map {name!r} damaged with the seed {seed}: {error!r}") from error


@pytest.mark.slow
def test_damage_leaves_maps_of_both_kinds():
    """A fuzz of maps that are all refused, or all unharmed, would show nothing."""
    outcomes = {"refused": 0, "unharmed": 0, "other": 0}
    for seed in range(60):
        text = damage(SMALL["straight"], random.Random(seed))
        try:
            lanes = maps.parse(text, "damaged").lanes
        except OpenDriveError:
            outcomes["refused"] += 1
        else:
            sound = maps.parse(SMALL["straight"], "sound").lanes
            same = len(lanes) == len(sound) and all(
                np.array_equal(a.points, b.points) for a, b in zip(lanes, sound, strict=True)
            )
            outcomes["unharmed" if same else "other"] += 1
    assert min(outcomes.values()) >= 5, outcomes


def test_lane_links():
    """The helper's own links: without them the texts above would test little."""
    assert '<successor id="-1"/>' in lane(-1, "driving", 3.5)
    assert all(each.successors for each in maps.parse(SMALL["ring"], "ring").driving)
