"""OpenDRIVE texts that are slightly damaged, and everything that a server does with a map.

``tests/test_maps_damaged.py`` tries a few of them, ``verification/opendrive_fuzz.py`` as many as one likes.
"""

from __future__ import annotations

import copy
import random
import xml.etree.ElementTree as ET

import numpy as np

from minicarla import maps
from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import navmesh
from minicarla.maps.roadmap import RoadMap
from minicarla.sensors.gnss import geolocation, reference
from minicarla.sensors.raster.geometry import GeometryPicture
from minicarla.sensors.raster.picture import ColourPicture
from minicarla.world import survey
from minicarla.world.world import World

from . import small_maps

WORDS = (
    *("", "x", "nan", "inf", "-inf", "1e400", "-1", "0", "-0.0"),
    *("1e-12", "5e-324", "1e-7", "9e5", "1e9", "-1e300"),
)
"""What takes the place of a number."""
SLIVERS = (0.0, 5e-324, 1e-12, 5e-10, 1e-9, 2e-9, 1e-7, 1e-6, 1e-4, 1e-3)
"""Metres by which a copy is put behind, or before the end of, what it was copied from."""

SMALL = {
    "straight": small_maps.straight(),
    "ring": small_maps.ring(),
    "crossing": small_maps.crossing(),
    "curves": small_maps.curves(),
}
"""Sound texts to damage, by name."""


def damage(text: str, dice: random.Random) -> str:
    """A copy of a sound text with one to three faults such as people's maps have."""
    root = ET.fromstring(text)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if sum(1 for _ in root.iter("lane")) < 2:
            break  # next to nothing is left to damage
        dice.choice((_replace, _replace, _nudge, _sliver, _sliver, _sliver, _repeat, _drop, _swap, _strip))(
            root, dice
        )
    damaged = ET.tostring(root, encoding="unicode")
    if dice.random() < 0.03:
        start = dice.randrange(len(damaged))
        damaged = damaged[:start] + damaged[start + dice.randint(1, 400) :]
    return damaged


def _numbers(root: ET.Element) -> list[tuple[ET.Element, str]]:
    found = []
    for element in root.iter():
        for name, value in element.attrib.items():
            try:
                float(value)
            except ValueError:
                continue
            found.append((element, name))
    return found


def _replace(root: ET.Element, dice: random.Random) -> None:
    """Put something odd in the place of a number."""
    element, name = dice.choice(_numbers(root))
    element.set(name, dice.choice(WORDS))


def _nudge(root: ET.Element, dice: random.Random) -> None:
    """Move a number a little, or turn its sign."""
    element, name = dice.choice(_numbers(root))
    value = float(element.attrib[name])
    choices = (-value, value + dice.choice(SLIVERS), value - dice.choice(SLIVERS), 2.0 * value, 0.5 * value)
    element.set(name, repr(dice.choice(choices)))


_ALONG = dict.fromkeys(("geometry", "elevation", "laneOffset", "laneSection", "type", "signal"), "s")
_WITHIN = dict.fromkeys(("width", "roadMark", "speed"), "sOffset")


def _sliver(root: ET.Element, dice: random.Random) -> None:
    """Repeat a record next to itself, at its road's end or beyond it: one of the two is next to nothing."""
    parents = {child: parent for parent in root.iter() for child in parent}
    records = [e for e in root.iter() if e.tag in _ALONG or e.tag in _WITHIN]
    record = dice.choice(records)
    name = _ALONG.get(record.tag) or _WITHIN[record.tag]
    above = record
    while above.tag != "road":
        above = parents[above]
    try:
        here, length = float(record.get(name, "0")), float(above.get("length", "0"))
    except ValueError:
        return
    twin = copy.deepcopy(record)
    gap = dice.choice(SLIVERS)
    twin.set(name, repr(dice.choice((here + gap, here - gap, length - gap, length + gap, length + 10.0))))
    if record.tag == "geometry" and dice.random() < 0.5:
        twin.set("length", repr(gap))
    siblings = parents[record]
    siblings.insert(list(siblings).index(record) + dice.randint(0, 1), twin)


def _repeat(root: ET.Element, dice: random.Random) -> None:
    """Repeat an element as it is."""
    parent = dice.choice([e for e in root.iter() if len(e)])
    child = dice.choice(list(parent))
    parent.insert(list(parent).index(child), copy.deepcopy(child))


def _drop(root: ET.Element, dice: random.Random) -> None:
    """Leave an element out."""
    parent = dice.choice([e for e in root.iter() if len(e)])
    parent.remove(dice.choice(list(parent)))


def _swap(root: ET.Element, dice: random.Random) -> None:
    """Exchange two siblings."""
    parents = [e for e in root.iter() if len(e) > 1]
    parent = dice.choice(parents)
    a, b = sorted(dice.sample(range(len(parent)), 2))
    first, second = parent[a], parent[b]
    parent[a], parent[b] = second, first


def _strip(root: ET.Element, dice: random.Random) -> None:
    """Leave an attribute out."""
    element = dice.choice([e for e in root.iter() if e.attrib])
    del element.attrib[dice.choice(list(element.attrib))]


class Laboratory:
    """Does with a map what a server does, in one world that lives on."""

    def __init__(self) -> None:
        self.world = World("loop", synchronous=True, npc=2, walkers=2)
        self.colour = ColourPicture(48, 32, 90.0)
        self.exact = GeometryPicture(48, 32, 90.0)

    def try_text(self, text: str) -> RoadMap | None:
        """The map of a text, used in every way; None for one that is refused with a reason.

        AssertionError, or whatever error the server would have run into, where something is wrong.
        """
        try:
            roadmap = maps.parse(text, "damaged")
        except maps.OpenDriveError as error:
            assert str(error), "refused without a reason"
            return None
        self._shape(roadmap)
        self._episode(roadmap)
        return roadmap

    def _shape(self, roadmap: RoadMap) -> None:
        for lane in roadmap.lanes:
            numbers = (lane.points, lane.headings, lane.s, lane.road_s, lane.width, lane.speed_limit)
            assert all(np.isfinite(n).all() for n in numbers), "a lane leads nowhere"
            assert (np.diff(lane.s) >= 0.0).all() and lane.length >= 0.0
            assert len(lane.points) == len(lane.headings) == len(lane.s) >= 2
            lane.at(0.5 * lane.length)
        assert np.isfinite(roadmap.bounds).all()
        assert all(np.isfinite(line.points).all() for line in roadmap.markings())
        for pose in roadmap.spawn_points:
            assert np.isfinite(pose).all()
            assert roadmap.locate(pose.x, pose.y) is not None, "a spawn point away from every lane"
        for lane in roadmap.driving[:5]:
            # Waypoints: the middle of a lane lies on a lane.
            point, _ = lane.at(0.5 * lane.length)
            place = roadmap.locate(float(point[0]), float(point[1]))
            assert place is not None and abs(place[2]) < max(lane.width, 8.0)
            roadmap.elevation(float(point[0]), float(point[1]))
        mesh = navmesh.build(roadmap)
        if mesh is not None:
            assert np.isfinite(mesh.vertices).all() and mesh.file

    def _episode(self, roadmap: RoadMap) -> None:
        world = self.world
        world.start_episode(roadmap)
        place = roadmap.driving[0].at(0.5 * roadmap.driving[0].length)
        (x, y, z), yaw = place
        eye = Pose(float(x), float(y), float(z) + 1.5, yaw=yaw)
        for pose in (eye, eye._replace(z=eye.z + 30.0, pitch=-90.0)):
            picture = self.colour.render(roadmap, world.bodies, world.weather, pose)
            assert picture.shape == (32, 48, 4)
            self.exact.render(roadmap, Bodies(), pose)
            assert np.isfinite(self.exact.depth).all() and self.exact.tag.any()
        below = survey.project(world.episode.view, (eye.x, eye.y, eye.z + 5.0), (0.0, 0.0, -1.0), 100.0)
        assert below is not None, "there is no ground below a lane"
        assert np.isfinite(geolocation(reference(roadmap), eye.x, eye.y)).all()
        for _ in range(3):
            world.tick()
