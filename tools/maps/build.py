"""Makes maps.

``python -m tools.maps.build`` rewrites the bundled ones, ``data/*.xodr`` of ``minicarla.maps``.
``python -m tools.maps.build --random town7.xodr --seed 7`` writes a town drawn by lot.
"""

from __future__ import annotations

import argparse
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from scenariogeneration import xodr

from tools.maps.generate import random_town
from tools.maps.network import Network, Node, Profile, Street, add_controllers, fillet, plan

ROOT = Path(__file__).parents[2]

DATE = "2026-01-01T00:00:00"  # fixed, so that the files do not change with the date


def loop() -> ET.Element:
    """A closed circuit without junctions: straights, wide and narrow bends, an S."""
    corners = [(0, 0), (150, 0), (150, 60), (210, 60), (210, 130), (80, 130), (80, 90), (0, 90)]
    network = Network("loop", profile=Profile(lane=3.5))
    start = (40.0, 0.0)
    points = [start, *[(float(x), float(y)) for x, y in corners[1:]], (0.0, 0.0), start]
    pieces = fillet(points, 18.0)
    # Cut into four roads that follow each other in a ring.
    quarter = math.ceil(len(pieces) / 4)
    parts = [pieces[i : i + quarter] for i in range(0, len(pieces), quarter)]
    roads = []
    for number, part in enumerate(parts):
        lanes = network.two_way()
        section = lanes.lanesections[0]
        for lane in (*section.leftlanes, *section.rightlanes):
            lane.add_link("predecessor", lane.lane_id)
            lane.add_link("successor", lane.lane_id)
        road = xodr.Road(network.road_id(), plan(part), lanes, name=f"part {number}")
        road.add_type(xodr.RoadType.town, 0, speed=50, speed_unit="km/h")
        roads.append(road)
    for before, road in zip([roads[-1], *roads], roads, strict=False):
        before.add_successor(xodr.ElementType.road, road.id, xodr.ContactPoint.start)
        road.add_predecessor(xodr.ElementType.road, before.id, xodr.ContactPoint.end)
    for road in roads:
        network.document.add_road(road)
    return network.document.get_element()


def town() -> ET.Element:
    """Two-lane streets, T-junctions and corners on about 400 by 340 m, as CARLA's Town01 is."""
    centres = [
        (0, 120),  # 0 west side
        (110, 0),  # 1 south side
        (260, 0),  # 2
        (400, 110),  # 3 east side
        (400, 240),  # 4
        (290, 340),  # 5 north side
        (130, 340),  # 6
        (0, 250),  # 7 west side
        (110, 120),  # 8 inner
        (260, 110),  # 9
        (260, 240),  # 10
        (130, 250),  # 11
    ]
    nodes = [Node((float(x), float(y))) for x, y in centres]
    streets = [
        Street(0, 1, via=((0, 0),), radius=25),
        Street(1, 2),
        Street(2, 3, via=((400, 0),), radius=30),
        Street(3, 4),
        Street(4, 5, via=((400, 340),), radius=20),
        Street(5, 6),
        Street(6, 7, via=((0, 340),), radius=35),
        Street(7, 0),
        Street(1, 8),
        Street(0, 8),
        Street(8, 9, via=((160, 120), (200, 110)), radius=40),
        Street(2, 9),
        Street(9, 3, via=((295, 110), (325, 130), (365, 110)), radius=15),
        Street(9, 10),
        Street(10, 4),
        Street(10, 11, via=((220, 240), (205, 215), (170, 215), (155, 250)), radius=12),
        Street(11, 7, via=((90, 250), (75, 275), (40, 275), (25, 250)), radius=11),
        Street(11, 6),
        Street(8, 11, via=((110, 180), (130, 200)), radius=30),
        Street(10, 5, via=((260, 290), (290, 305)), radius=15),
    ]
    return Network("town").build(nodes, streets)


def grid() -> ET.Element:
    """Four by three streets, 90 m apart; the inner junctions are four-way and have traffic lights."""
    columns, rows, block = 4, 3, 90.0
    nodes: list[Node] = []
    index: dict[tuple[int, int], int] = {}
    for i in range(columns):
        for j in range(rows):
            if (i in (0, columns - 1)) and (j in (0, rows - 1)):
                continue  # the grid's corners are bends, not junctions
            inner = 0 < i < columns - 1 and 0 < j < rows - 1
            index[i, j] = len(nodes)
            nodes.append(Node((i * block, j * block), signals=inner))
    streets = [
        Street(index[i, j], index[i + di, j + dj])
        for (i, j) in index
        for di, dj in ((1, 0), (0, 1))
        if (i + di, j + dj) in index
    ]
    for i, j in ((0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)):
        beside = index[1 if i == 0 else i - 1, j]
        above = index[i, 1 if j == 0 else j - 1]
        streets.append(Street(beside, above, via=((i * block, j * block),), radius=20))
    network = Network("grid", reach=11.0)
    root = network.build(nodes, streets)
    add_controllers(root, network.signals)
    return root


def village() -> ET.Element:
    """Narrow, winding lanes, slanted junctions and two lights, on about 330 by 280 m.

    No training run ever uses it: agents are tested here on streets that they have not seen.
    """
    centres = [
        (0, 130),  # 0 west
        (95, 20),  # 1 south
        (230, 0),  # 2
        (330, 95),  # 3 east
        (300, 230),  # 4
        (165, 280),  # 5 north
        (40, 235),  # 6
        (110, 130),  # 7 inner, with lights
        (220, 140),  # 8 inner, with lights
    ]
    nodes = [Node((float(x), float(y)), signals=k >= 7) for k, (x, y) in enumerate(centres)]
    streets = [
        Street(0, 1, via=((30, 60),), radius=30),
        Street(1, 2, via=((140, -15), (185, 25)), radius=22),
        Street(2, 3, via=((310, 15),), radius=28),
        Street(3, 4, via=((345, 165),), radius=40),
        Street(4, 5, via=((265, 290), (215, 255)), radius=16),
        Street(5, 6, via=((100, 295),), radius=45),
        Street(6, 0, via=((-15, 190),), radius=35),
        Street(0, 7, via=((45, 145), (75, 115)), radius=24),
        Street(7, 8, via=((150, 115), (185, 155)), radius=26),
        Street(8, 3, via=((265, 105),), radius=32),
        Street(1, 7, via=((85, 75),), radius=38),
        Street(8, 2, via=((245, 70),), radius=50),
        Street(7, 6, via=((60, 185),), radius=20),
        Street(8, 5, via=((165, 215),), radius=34),
    ]
    network = Network("village", reach=14.0, profile=Profile(lane=3.3, shoulder=0.4, sidewalk=2.0))
    root = network.build(nodes, streets)
    add_controllers(root, network.signals)
    return root


def suburb() -> ET.Element:
    """Lanes of 3.5 m, long bends, slanted junctions, four of them with lights, on about 420 by 310 m."""
    centres = [
        (0, 60),  # 0 west
        (140, 10),  # 1 south
        (285, 35),  # 2
        (405, 130),  # 3 east
        (330, 265),  # 4 north-east
        (185, 305),  # 5 north
        (45, 240),  # 6 north-west
        (120, 110),  # 7 inner, with lights
        (255, 125),  # 8 inner, with lights
        (225, 215),  # 9 inner, with lights
        (95, 195),  # 10 inner, with lights
    ]
    nodes = [Node((float(x), float(y)), signals=k >= 7) for k, (x, y) in enumerate(centres)]
    streets = [
        Street(0, 1, via=((45, -15),), radius=26),
        Street(1, 2, via=((215, -25),), radius=60),
        Street(2, 3, via=((390, 40),), radius=34),
        Street(3, 4, via=((415, 225),), radius=24),
        Street(4, 5, via=((280, 320), (235, 280)), radius=18),
        Street(5, 6, via=((95, 325),), radius=38),
        Street(6, 0, via=((-25, 150),), radius=70),
        Street(0, 7),
        Street(1, 7, via=((155, 70),), radius=20),
        Street(7, 8, via=((170, 135), (215, 100)), radius=30),
        Street(8, 2, via=((285, 85),), radius=22),
        Street(8, 3, via=((330, 155),), radius=45),
        Street(8, 9, via=((270, 175),), radius=28),
        Street(9, 4, via=((280, 205),), radius=32),
        Street(9, 5),
        Street(9, 10, via=((190, 175), (140, 215)), radius=25),
        Street(10, 7, via=((80, 150),), radius=24),
        Street(10, 6),
    ]
    network = Network("suburb", reach=13.0, profile=Profile(lane=3.5, shoulder=0.5, sidewalk=2.0))
    root = network.build(nodes, streets)
    add_controllers(root, network.signals)
    return root


MAPS: dict[str, Callable[[], ET.Element]] = {
    "loop": loop,
    "town": town,
    "grid": grid,
    "suburb": suburb,
    "village": village,
    "random1": partial(random_town, "random1", seed=1, lane=3.2),
    "random2": partial(random_town, "random2", seed=2, lane=3.5),
    "random3": partial(random_town, "random3", seed=3, lane=3.8),
}


def text(name: str) -> str:
    """The OpenDRIVE text of a bundled map; the same bytes on every call."""
    return _text(MAPS[name])


def _text(build: Callable[[], ET.Element]) -> str:
    # The library refuses an id that another map of this process has; it must be unique in its own map only.
    xodr.Signal._usedIDs.clear()
    root = build()
    header = root.find("header")
    assert header is not None
    header.set("date", DATE)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every bundled map, or one town that is drawn by lot."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--random", type=Path, metavar="FILE.xodr", help="write a town drawn by lot there instead"
    )
    parser.add_argument("--seed", type=int, default=0, help="which town (default: %(default)s)")
    parser.add_argument(
        "--lane", type=float, default=3.5, help="width of its lanes, metres (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.random:
        if not 2.5 <= options.lane <= 4.5:
            parser.error(f"--lane is {options.lane:g}; it must lie between 2.5 and 4.5 metres")
        try:
            town = _text(partial(random_town, options.random.stem, options.seed, options.lane))
            options.random.write_text(town, encoding="utf-8")
        except (ValueError, OSError) as error:
            parser.error(str(error))
        return
    folder = ROOT / "packages/minicarla/src/minicarla/maps/data"
    folder.mkdir(exist_ok=True)
    for name in MAPS:
        path = folder / f"{name}.xodr"
        path.write_text(text(name), encoding="utf-8")
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
