"""Everything that sensors can see besides the map, in one table: bodies, traffic lights, props.

The columns are those of ``Bodies`` that sensors read, and ``look``, which distinguishes the looks of one
kind of thing (the state of a traffic light).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minicarla.sensors.tags import Tag
from minicarla.sensors.view import Fixture, WorldView

LIGHT_EXTENT = (0.22, 0.22, 1.8)
"""Half sizes of a traffic light, metres.  Its head is the upper third."""
LIGHT_HEAD = 0.34
"""Where the head begins: a share of the half height, from the middle upwards."""

SIGN_EXTENT = (0.04, 0.35, 1.4)
"""Half sizes of a traffic sign, metres.  Its plate is square and at the top."""
SIGN_PLATE = 0.5
"""Where the plate begins: a share of the half height, from the middle upwards."""

LIGHT_COLOUR = (44, 46, 44)
"""Colour (r, g, b) of a traffic light's housing."""


class Things:
    """The columns of the bodies followed by those of the fixtures."""

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
        self.lamps = np.concatenate([bodies.lamps, np.zeros(more, np.uint32)])
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


_TAGS = {"traffic_light": Tag.TRAFFIC_LIGHT, "traffic_sign": Tag.TRAFFIC_SIGNS}


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
        "colour": np.array(
            [LIGHT_COLOUR if light else f.colour for f, light in zip(fixtures, lights, strict=True)], np.uint8
        ),
        "tag": np.array([_TAGS.get(f.kind, Tag.STATIC) for f in fixtures], np.uint8),
        "look": np.array([f.state for f in fixtures], np.int64),
    }
