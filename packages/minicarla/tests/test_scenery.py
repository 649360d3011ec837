"""Scenery: a small town beside the roads, and never on them."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from minicarla import maps
from minicarla.maps import scenery
from minicarla.sensors.raster.ground import TERRAIN, VERGE, ground_of

from .small_maps import BUNDLED


@pytest.fixture(scope="module", params=BUNDLED)
def roadmap(request):
    return maps.load(request.param)


def footprint(box, spacing: float = 0.1) -> np.ndarray:
    """Points (n, 2) all over a box's footprint."""
    a = np.linspace(-box.extent[0], box.extent[0], int(2 * box.extent[0] / spacing) + 2)
    b = np.linspace(-box.extent[1], box.extent[1], int(2 * box.extent[1] / spacing) + 2)
    u, v = (m.ravel() for m in np.meshgrid(a, b))
    cos, sin = np.cos(np.radians(box.yaw)), np.sin(np.radians(box.yaw))
    return np.stack([box.centre[0] + cos * u - sin * v, box.centre[1] + sin * u + cos * v], axis=1)


def test_nothing_stands_on_or_hangs_over_road_or_sidewalk(roadmap):
    ground = ground_of(roadmap)  # a raster of its own, finer than the one that scenery is placed by
    rows, columns = ground.labels.shape
    for box in roadmap.statics:
        spots = footprint(box)
        column = np.floor((spots[:, 0] - ground.x0) / ground.resolution).astype(int)
        row = np.floor((spots[:, 1] - ground.y0) / ground.resolution).astype(int)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        under = ground.labels[row[inside], column[inside]]
        assert np.isin(under, [TERRAIN, VERGE]).all(), (box.kind, box.centre)
        lane, _, lateral = roadmap.locate_many(spots[:: max(1, len(spots) // 200)])
        width = np.array([roadmap.lanes[k].width for k in lane.clip(0)])
        assert (np.abs(lateral) - 0.5 * width)[lane >= 0].min(initial=np.inf) > 1.5, (box.kind, box.centre)


def test_solid_things_do_not_run_into_each_other(roadmap):
    solid = [box for box in roadmap.statics if box.solid]
    taken: dict[tuple[int, int], int] = {}
    for k, box in enumerate(solid):
        for cell in {tuple(c) for c in np.floor(footprint(box, 0.4) / 0.4).astype(int).tolist()}:
            # A trunk and its crown share a spot; the crown is not solid.
            assert taken.setdefault(cell, k) == k, (box.kind, solid[taken[cell]].kind, box.centre)


def test_it_is_a_town(roadmap):
    kinds = Counter(box.kind for box in roadmap.statics)
    streets = sum(lane.length for lane in roadmap.driving if lane.junction == -1)
    assert kinds["building"] > streets / 60.0 and kinds["tree"] > streets / 60.0
    assert kinds["pole"] > streets / 60.0
    assert kinds["wall"] + kinds["fence"] + kinds["hedge"] >= 10
    tags = {box.kind: box.tag for box in roadmap.statics}
    assert tags["building"] == 3 and tags["pole"] == 6 and tags["tree"] == tags["crown"] == 9
    assert not any(box.solid for box in roadmap.statics if box.kind in ("crown", "lamp"))


def digest(boxes) -> str:
    text = repr(
        [(b.kind, b.centre.tolist(), b.extent.tolist(), b.yaw, b.colour, b.tag, b.solid) for b in boxes]
    )
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_same_seed_gives_the_same_town():
    roadmap = maps.load("loop")
    assert digest(scenery.build(roadmap, 0)) == digest(roadmap.statics)
    assert digest(scenery.build(roadmap, 1)) != digest(roadmap.statics)
