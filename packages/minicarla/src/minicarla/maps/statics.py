"""The type of the things that stand beside the roads and never move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StaticBox:
    """An upright box; CARLA's frame, metres and degrees."""

    kind: str
    """"building", "tree", "pole", "wall", ..."""
    centre: NDArray[np.float64]
    """(3,) middle of the box."""
    extent: NDArray[np.float64]
    """(3,) half sizes."""
    yaw: float
    colour: tuple[int, int, int]
    """r, g, b"""
    tag: int
    """CARLA's semantic tag."""
    solid: bool = True
    """Whether vehicles collide with it."""
