"""Remember what was computed for a map as long as the map lives."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def per_map(compute: Callable[[Any], T]) -> Callable[[Any], T]:
    """``compute(roadmap)``, computed once for each road map object.

    Keyed by identity, so that the map need not be hashable; a map that goes away takes
    its entry along.
    """
    known: dict[int, T] = {}

    @functools.wraps(compute)
    def remembered(roadmap: Any) -> T:
        key = id(roadmap)
        if key not in known:
            known[key] = compute(roadmap)
            weakref.finalize(roadmap, known.pop, key, None)
        return known[key]

    return remembered
