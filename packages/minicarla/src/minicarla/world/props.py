"""Props: the things of CARLA's ``static.prop.*`` that clients may put into a world.

Names and sizes are those of CARLA 0.9.16, as Scenic's table of its bounding boxes has them
(``_blueprintData.py``).  Every prop is a box of that size.
"""

from __future__ import annotations

from typing import NamedTuple

CLEARANCE = 0.2
"""Metres.  Wheels roll over anything lower: such a prop stops nobody."""

_SIZES = ((0.6, "tiny"), (1.2, "small"), (2.2, "medium"), (4.0, "big"))
"""CARLA's size class for things whose longest side is less than so many metres; else "huge".

CARLA sets the class by hand for each prop, so it may differ by one.
"""

_COLOURS = (
    ("cone", (226, 96, 28)),
    ("warning", (230, 170, 40)),
    ("barrier", (214, 80, 50)),
    ("barrel", (200, 110, 50)),
    ("bin", (52, 92, 60)),
    ("trash", (60, 84, 66)),
    ("mailbox", (190, 160, 40)),
    ("bench", (128, 92, 60)),
    ("vending", (160, 50, 56)),
    ("creasedbox", (170, 130, 88)),
    ("box", (170, 130, 88)),
    ("container", (70, 100, 128)),
    ("haybale", (196, 168, 92)),
    ("debris", (104, 88, 70)),
    ("tree", (58, 96, 50)),
    ("palm", (58, 96, 50)),
    ("plantpot", (96, 110, 70)),
    ("advertisement", (96, 120, 170)),
    ("streetsign", (60, 100, 170)),
)
"""Colour (r, g, b) by a part of the name; the first that fits."""
_GREY = (140, 140, 140)


class PropBlueprint(NamedTuple):
    """A prop: its blueprint id, CARLA's size class, half sizes in metres, and colour (r, g, b)."""

    id: str
    size: str
    extent: tuple[float, float, float]
    colour: tuple[int, int, int]

    @property
    def solid(self) -> bool:
        """Whether it stops vehicles."""
        return 2.0 * self.extent[2] > CLEARANCE


def _prop(name: str, length: float, width: float, height: float) -> PropBlueprint:
    longest = max(length, width, height)
    return PropBlueprint(
        f"static.prop.{name}",
        next((size for limit, size in _SIZES if longest < limit), "huge"),
        (0.5 * length, 0.5 * width, 0.5 * height),
        next((colour for part, colour in _COLOURS if part in name), _GREY),
    )


# Name; length, width and height in metres.
_TABLE = (
    ("advertisement", 1.55, 0.29, 2.44),
    ("aporosatree", 12.96, 12.58, 15.63),
    ("atm", 0.71, 0.87, 2.28),
    ("barbeque", 0.95, 0.50, 1.26),
    ("barrel", 0.46, 0.47, 0.81),
    ("bench01", 1.54, 0.74, 0.97),
    ("bench02", 1.56, 0.54, 0.51),
    ("bench03", 1.58, 0.51, 0.51),
    ("bike helmet", 0.19, 0.28, 0.17),
    ("bin", 0.55, 0.64, 1.06),
    ("box01", 0.65, 0.65, 0.69),
    ("box02", 0.65, 0.65, 0.65),
    ("box03", 0.66, 0.67, 0.65),
    ("briefcase", 0.54, 0.18, 0.43),
    ("brokentile01", 0.13, 0.18, 0.01),
    ("brokentile02", 0.21, 0.15, 0.01),
    ("brokentile03", 0.15, 0.14, 0.01),
    ("brokentile04", 0.13, 0.13, 0.01),
    ("busstop", 3.88, 1.89, 2.74),
    ("busstoplb", 1.89, 3.88, 2.74),
    ("calibrator", 1.55, 0.69, 0.20),
    ("chainbarrier", 1.49, 0.24, 0.89),
    ("chainbarrierend", 0.24, 0.24, 0.89),
    ("clothcontainer", 1.24, 1.89, 1.81),
    ("clothesline", 6.65, 1.12, 2.06),
    ("coconutpalm", 8.60, 8.89, 20.31),
    ("colacan", 0.07, 0.07, 0.11),
    ("constructioncone", 0.34, 0.34, 0.59),
    ("container", 1.93, 1.01, 1.71),
    ("creasedbox01", 0.81, 0.71, 0.12),
    ("creasedbox02", 1.63, 0.71, 0.21),
    ("creasedbox03", 1.67, 0.71, 0.02),
    ("cypresstree", 4.61, 4.63, 15.68),
    ("dirtdebris01", 1.86, 1.51, 0.15),
    ("dirtdebris02", 1.86, 1.51, 0.15),
    ("dirtdebris03", 1.86, 1.51, 0.19),
    ("doghouse", 1.08, 1.27, 1.09),
    ("foodcart", 2.28, 4.64, 3.57),
    ("fountain", 8.40, 8.40, 6.92),
    ("garbage01", 0.05, 0.05, 0.09),
    ("garbage02", 0.05, 0.05, 0.01),
    ("garbage03", 0.06, 0.06, 0.08),
    ("garbage04", 0.06, 0.06, 0.07),
    ("garbage05", 0.23, 0.23, 0.06),
    ("garbage06", 0.37, 0.21, 0.08),
    ("gardenlamp", 0.30, 0.28, 0.65),
    ("glasscontainer", 1.95, 2.01, 1.79),
    ("gnome", 0.37, 0.38, 0.88),
    ("guitarcase", 1.24, 0.13, 0.49),
    ("haybale", 1.25, 1.19, 1.19),
    ("haybalelb", 1.25, 1.19, 1.19),
    ("ironplank", 1.45, 1.17, 0.02),
    ("kiosk_01", 1.63, 1.65, 3.25),
    ("mailbox", 0.53, 0.44, 1.16),
    ("maptable", 1.57, 0.62, 1.18),
    ("mobile", 0.08, 0.01, 0.17),
    ("motorhelmet", 0.20, 0.26, 0.26),
    ("pergola", 5.03, 5.09, 3.54),
    ("plantpot01", 1.09, 0.48, 0.56),
    ("plantpot02", 1.05, 0.43, 0.49),
    ("plantpot03", 1.05, 0.43, 0.49),
    ("plantpot04", 4.97, 0.74, 0.12),
    ("plantpot05", 0.40, 0.40, 0.28),
    ("plantpot06", 1.59, 1.59, 0.85),
    ("plantpot07", 0.49, 0.48, 0.56),
    ("plantpot08", 0.53, 0.53, 0.49),
    ("plasticbag", 0.31, 0.40, 0.55),
    ("plasticchair", 0.73, 0.75, 1.27),
    ("plastictable", 2.48, 2.48, 2.48),
    ("platformgarbage01", 3.63, 1.71, 0.33),
    ("purse", 0.16, 0.33, 0.59),
    ("shoppingbag", 0.47, 0.24, 0.60),
    ("shoppingcart", 0.67, 1.21, 1.08),
    ("shoppingtrolley", 0.51, 0.33, 1.09),
    ("slide", 0.94, 4.12, 1.98),
    ("streetbarrier", 1.21, 0.37, 1.07),
    ("streetfountain", 0.29, 0.67, 1.26),
    ("streetsign", 1.06, 0.13, 2.15),
    ("streetsign01", 2.47, 0.30, 3.88),
    ("streetsign04", 1.17, 0.12, 2.77),
    ("swing", 4.11, 1.58, 2.57),
    ("swingcouch", 1.36, 2.36, 2.25),
    ("table", 2.16, 2.15, 0.85),
    ("trafficcone01", 0.88, 0.88, 1.13),
    ("trafficcone02", 0.46, 0.39, 1.18),
    ("trafficwarning", 2.37, 2.87, 3.57),
    ("trampoline", 4.13, 4.13, 2.80),
    ("trashbag", 0.38, 0.43, 0.70),
    ("trashcan01", 0.64, 0.57, 0.85),
    ("trashcan02", 0.52, 0.51, 1.05),
    ("trashcan03", 0.63, 0.55, 0.93),
    ("trashcan04", 0.79, 0.58, 1.02),
    ("trashcan05", 0.79, 0.58, 1.02),
    ("travelcase", 0.57, 0.33, 1.26),
    ("vendingmachine", 0.87, 1.10, 2.11),
    ("warningaccident", 1.31, 1.06, 1.86),
    ("warningconstruction", 1.31, 1.06, 1.86),
    ("wateringcan", 0.07, 0.19, 0.13),
)

PROPS = {prop.id: prop for prop in (_prop(*row) for row in _TABLE)}
"""All props by blueprint id."""
