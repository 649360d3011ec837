"""Remember what was computed for a map as long as the map lives."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TypeVar

from minicarla.maps import RoadMap

T = TypeVar("T")


def per_map(compute: Callable[[RoadMap], T]) -> Callable[[RoadMap], T]:
    """``compute(roadmap)``, computed once for each road map object.

    Results are kept by the map's identity, and are dropped together with the map.
    """
    known: dict[int, T] = {}

    @functools.wraps(compute)
    def remembered(roadmap: RoadMap) -> T:
        key = id(roadmap)
        if key not in known:
            known[key] = compute(roadmap)
            weakref.finalize(roadmap, known.pop, key, None)
        return known[key]

    return remembered


def per_ground(compute: Callable[[RoadMap], T]) -> Callable[[RoadMap], T]:
    """Like :func:`per_map`, for what depends on the ground alone: altered copies of a map share it."""
    known = per_map(compute)

    @functools.wraps(compute)
    def remembered(roadmap: RoadMap) -> T:
        return known(roadmap.whole or roadmap)

    return remembered
