from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELL: float
WIDEN: float
LENGTHEN: float

class Paths:
    def __init__(self, x: Floats, y: Floats, tx: Floats, ty: Floats, s: Floats, cell: Ints) -> None: ...
    def advance(self, at: Ints, count: Ints, x: Floats, y: Floats, window: int) -> tuple[Floats, Floats]: ...

class Occupancy:
    def __init__(self, bounds: tuple[float, float, float, float]) -> None: ...
    def cells(self, x: Floats, y: Floats) -> Ints: ...
    def at(self, cells: Any) -> NDArray[np.int32]: ...
    def paint(self, position: Floats, extent: Floats, cos: Floats, sin: Floats) -> None: ...
    def look_ahead(
        self,
        paths: Paths,
        bodies: Any,
        rows: Ints,
        at: Ints,
        count: Ints,
        along: Floats,
        cos: Floats,
        sin: Floats,
        sight: int,
        beside: float,
    ) -> tuple[Floats, Floats, Ints]: ...
