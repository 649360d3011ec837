from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

class Faces:
    def __init__(self, mesh: Any, pairs: Any = None) -> None: ...

class Look:
    hides: bool
    def __init__(
        self, width: int, height: int, focal: float, near: float, reach: float, big: float
    ) -> None: ...
    def look(
        self,
        still: Faces,
        moving: Faces,
        eye: Array,
        axes: Array,
        position: Array,
        rotation: Array,
        middle: Array,
        shadows: bool,
    ) -> None: ...
    def __len__(self) -> int: ...
    def corners(self) -> list[Array]: ...
    def owners(self) -> NDArray[np.int64]: ...
    def ahead(self) -> Array: ...
    def planes(self) -> Array: ...
    def colours(
        self, light: Any, glow: Array, braking: NDArray[np.uint8], lamp: int, shining: int
    ) -> NDArray[np.uint32]: ...
    def paint(self, canvas: NDArray[np.uint32], values: NDArray[np.uint32]) -> None: ...

class Pyramid:
    levels: list[NDArray[np.uint32]]
    def __init__(self, levels: list[NDArray[np.uint32]], x0: float, y0: float, resolution: float) -> None: ...
    def draw(
        self,
        canvas: NDArray[np.uint32],
        homography: Array,
        bands: list[tuple[int, int, int, int]],
        top: int,
        gain: NDArray[np.uint16],
        veil: NDArray[np.uint16],
    ) -> None: ...
