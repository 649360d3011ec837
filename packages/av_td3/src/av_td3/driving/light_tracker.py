"""Follows a car past the traffic lights of its route: how far the next is, and who ran a red one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from av_td3.driving.state import Colour

LIGHT_RANGE = 60.0
"""Metres before its stop line from which a light is looked at."""


class LightTracker:
    """Follows a car past the lights of its route.

    A red light is run when the front of the car passes the stop line while it shows red, and then the
    middle of the car does, too.  A car that stops with its front over the line has not run it.

    Args:
        places: metres along the route of the stop lines, ascending.
        front: metres from the car's origin to its front.
        s: metres along the route where the car is.  Lines behind its front are none of its business.
    """

    def __init__(self, places: Sequence[float], front: float, s: float = 0.0) -> None:
        self._places, self._front = places, front
        self._next = sum(place <= s + front for place in places)

    def update(self, s: float, colours: Sequence[Colour | None]) -> tuple[float, Colour | None, int]:
        """Take in where the car is and what the lights show.

        Returns (metres from the car's front to the next stop line, its light, red lights run just now).  The
        distance is 0 while the front is over a line that it passed on red, and inf where no light that is on
        has a line within ``LIGHT_RANGE``.
        """
        run = 0
        while self._next < len(self._places):
            place, colour = self._places[self._next], colours[self._next]
            gap = place - s - self._front
            if gap > 0.0:
                if gap > LIGHT_RANGE or colour is None:
                    break
                return gap, colour, run
            if colour == "red" and place > s:
                return 0.0, colour, run
            # Passed.  If it shows red only now that the front has passed, this is not reached.
            run += colour == "red"
            self._next += 1
        return math.inf, None, run
