"""What clients draw with ``world.debug``.  ``minicarla view`` shows it; cameras do not see it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

from minicarla.wire.debug import DebugString
from minicarla.wire.structs import DebugShape

MOST = 4096
"""How many drawings are kept; beyond that the oldest are dropped."""
LONGEST_TEXT = 200
"""Characters; longer texts are cut off."""
ONE_FRAME = 0.5
"""Seconds for which a drawing stays that CARLA would show for a single frame, so that it can be seen."""


class Drawings:
    """The drawings of one episode."""

    def __init__(self) -> None:
        self._shapes: deque[tuple[float, DebugShape]] = deque(maxlen=MOST)

    def add(self, shape: DebugShape, now: float) -> None:
        """Keep a drawing made at ``now`` seconds; ValueError when a coordinate is not finite."""
        if not all(math.isfinite(number) for number in _numbers(shape.primitive)):
            raise ValueError("a drawing has a coordinate that is not a finite number")
        if isinstance(shape.primitive, DebugString):
            text = shape.primitive.text[:LONGEST_TEXT]
            shape = shape._replace(primitive=shape.primitive._replace(text=text))
        life = math.inf if shape.life_time == 0.0 else max(shape.life_time, ONE_FRAME)
        self._shapes.append((now + life, shape))

    def shown(self, now: float) -> list[DebugShape]:
        """The drawings whose life time has not ended, oldest first."""
        if any(until <= now for until, _ in self._shapes):
            self._shapes = deque((item for item in self._shapes if item[0] > now), MOST)
        return [shape for _, shape in self._shapes]

    def clear(self, strings: bool) -> None:
        """Remove all texts (``clear_debug_string``), or all other drawings (``clear_debug_shape``)."""
        kept = (item for item in self._shapes if isinstance(item[1].primitive, DebugString) != strings)
        self._shapes = deque(kept, MOST)


def _numbers(fields: Iterable[object]) -> Iterator[float]:
    for field in fields:
        if isinstance(field, tuple):
            yield from _numbers(field)
        elif isinstance(field, float):
            yield field
