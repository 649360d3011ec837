"""Everything that is no part of the map, in one table: bodies, traffic lights, props.

Columns are those of ``world.bodies.Bodies`` that sensors read, and ``look``, which
tells apart the looks of one kind of thing (a traffic light's state).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.sensors.tags import Tag
from minicarla.sensors.view import Fixture, WorldView

LIGHT_EXTENT = (0.22, 0.22, 1.8)
"""Half sizes of a traffic light, metres; its head takes the upper third."""
LIGHT_HEAD = 0.34
"""Share of the half height, from the middle up, from which on it is the head."""

# Colour (r, g, b) of props by a part of their kind; others are grey.
_PROP_COLOURS = (
    ("cone", (226, 96, 28)),
    ("warning", (230, 170, 40)),
    ("barrier", (214, 80, 50)),
    ("barrel", (200, 110, 50)),
    ("bin", (52, 92, 60)),
    ("mailbox", (190, 160, 40)),
    ("bench", (128, 92, 60)),
    ("vending", (160, 50, 56)),
    ("box", (170, 130, 88)),
    ("container", (70, 100, 128)),
)


class Things:
    """Columns of bodies and then fixtures."""

    id: NDArray[np.int64]
    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    extent: NDArray[np.float64]
    centre: NDArray[np.float64]
    colour: NDArray[np.uint8]
    tag: NDArray[np.uint8]

    def __init__(self, bodies: Any, fixed: dict[str, Any]) -> None:
        count, more = len(bodies), len(fixed["id"])
        for name in ("id", "position", "rotation", "extent", "centre", "colour", "tag"):
            setattr(self, name, np.concatenate([getattr(bodies, name), fixed[name]]))
        self.velocity = np.concatenate([bodies.velocity, np.zeros((more, 3))])
        self.brake = np.concatenate([bodies.brake, np.zeros(more)])
        self.look = np.concatenate([np.zeros(count, np.int64), fixed["look"]])

    def __len__(self) -> int:
        return len(self.look)


_last: tuple[Any, dict[str, Any]] = ((), {})


def things_of(view: WorldView) -> Any:
    """The table for this tick; ``view.bodies`` itself when there is nothing else."""
    global _last
    fixtures = view.fixtures
    if not fixtures:
        return view.bodies
    if _last[0] is not fixtures:
        _last = (fixtures, _columns(fixtures))
    return Things(view.bodies, _last[1])


def _columns(fixtures: tuple[Fixture, ...]) -> dict[str, Any]:
    extent = np.array([LIGHT_EXTENT if f.extent is None else f.extent for f in fixtures], np.float64)
    centre = np.zeros((len(fixtures), 3))
    centre[:, 2] = extent[:, 2]
    lights = [f.kind == "traffic_light" for f in fixtures]
    return {
        "id": np.array([f.actor_id for f in fixtures], np.int64),
        "position": np.array([f.pose[:3] for f in fixtures], np.float64),
        "rotation": np.array([f.pose[3:] for f in fixtures], np.float64),
        "extent": extent,
        "centre": centre,
        "colour": np.array([_colour(f.kind) for f in fixtures], np.uint8),
        "tag": np.array([Tag.TRAFFIC_LIGHT if light else Tag.STATIC for light in lights], np.uint8),
        "look": np.array([f.state for f in fixtures], np.int64),
    }


def _colour(kind: str) -> tuple[int, int, int]:
    if kind == "traffic_light":
        return (44, 46, 44)
    return next((colour for part, colour in _PROP_COLOURS if part in kind), (140, 140, 140))
