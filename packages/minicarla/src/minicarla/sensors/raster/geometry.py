"""The exact geometry behind each pixel: what it shows, how far away that is, which thing it belongs to.

Depth, semantic and instance segmentation all read from one buffer, so they agree with
each other on every pixel, and with the colour picture, which paints the same
quadrilaterals in the same order.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.cache import per_map
from minicarla.sensors.raster.ground import TAGS, TERRAIN, GroundPicture, ground_of
from minicarla.sensors.raster.painter import NEAR, CameraScene, Eye, PinholeCamera, eye_of
from minicarla.sensors.raster.picture import ground_homography
from minicarla.sensors.raster.terrain import terrain_of
from minicarla.sensors.tags import Tag

FAR = 1000.0
"""Metres; CARLA's depth of the sky."""

STATIC_IDS = 0x8000
"""Instance ids of statics start here.  Those of vehicles and walkers are their actor ids."""


class GeometryPicture:
    """Renders one camera's geometry; call :meth:`render`, then read.

    depth: (height, width) float32, metres along the optical axis, at most 1000.
    tag: (height, width) uint8 semantic tags.  instance: (height, width) uint16.
    """

    def __init__(self, width: int, height: int, fov: float) -> None:
        self.camera = PinholeCamera(width, height, fov)
        self._scene = CameraScene(self.camera)
        self._face = np.zeros((height, width), np.uint32)
        self._x = ((np.arange(width) + 0.5 - 0.5 * width) / self.camera.focal).astype(np.float32)
        self._y = ((np.arange(height) + 0.5 - 0.5 * height) / self.camera.focal).astype(np.float32)[:, None]
        self._grounds: OrderedDict[tuple[float, ...], tuple[NDArray[np.float32], NDArray[np.bool_]]] = (
            OrderedDict()
        )
        self._tables: tuple[Any, ...] = ()

    def render(self, roadmap: RoadMap, bodies: Bodies, pose: Pose) -> None:
        """Draw the scene as seen from ``pose``."""
        bodies, pose = terrain_of(roadmap).flatten(bodies, pose)
        eye = eye_of(pose)
        seen = self._scene.look(roadmap, bodies, eye, shadows=False)
        self._face.fill(0)
        seen.paint(self._face, np.arange(1, len(seen) + 1, dtype=np.uint32))
        self._tables = (roadmap, bodies, eye, seen)

    def _below(self, eye: Eye) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Depth of level ground at height 0, and where it is seen."""
        height = float(eye.position[2])
        right, down, ahead = (float(v) for v in eye.axes[2])
        key = (height, right, down, ahead)
        found = self._grounds.get(key)
        if found is None:
            rise = np.float32(right) * self._x + np.float32(down) * self._y + np.float32(ahead)
            if height > 0.0:
                seen = rise < -height / FAR
                depth = np.where(seen, np.float32(height) / np.maximum(-rise, 1e-6), FAR).astype(np.float32)
            else:
                seen = np.zeros(rise.shape, np.bool_)
                depth = np.full(rise.shape, FAR, np.float32)
            found = self._grounds[key] = (depth, seen)
            if len(self._grounds) > 8:
                self._grounds.popitem(last=False)
        return found

    @property
    def depth(self) -> NDArray[np.float32]:
        """Metres along the optical axis."""
        _, _, eye, seen = self._tables
        ground, _ = self._below(eye)
        count = len(seen)
        if not count:
            return ground.copy()
        # 1 / depth is linear in the pixel.
        inverse = np.zeros((3, count + 1), np.float32)
        inverse[:, 1:] = seen.planes().T
        nearest = np.zeros(count + 1, np.float32)
        farthest = np.zeros(count + 1, np.float32)
        ahead = seen.ahead()
        nearest[1:] = np.maximum(ahead.min(1), NEAR)
        farthest[1:] = ahead.max(1)
        face = self._face
        value = inverse[0].take(face)
        value *= self._x
        part = inverse[1].take(face)
        part *= self._y
        value += part
        value += inverse[2].take(face)
        # The middle of a pixel may lie beside a thin face: then the range of the face is used.
        with np.errstate(divide="ignore"):
            np.divide(1.0, value, out=value)
        value[value <= 0.0] = np.inf
        np.minimum(value, farthest.take(face), out=value)
        np.maximum(value, nearest.take(face), out=value)
        return np.where(face > 0, value, ground)

    @property
    def tag(self) -> NDArray[np.uint8]:
        """Semantic tags."""
        roadmap, bodies, eye, seen = self._tables
        _, is_ground = self._below(eye)
        out = np.full(self._face.shape, int(Tag.SKY), np.uint8)
        rows = np.nonzero(is_ground.any(1))[0]
        if len(rows):
            first = int(rows[0])
            ground = ground_of(roadmap)
            matrix = _to_texture(ground) @ ground_homography(eye, self.camera) @ _from_row(first)
            labels: Any = cv2.warpPerspective(
                ground.labels,
                matrix,
                (self.camera.width, self.camera.height - first),
                flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=TERRAIN,
            )
            np.copyto(out[first:], TAGS.take(labels), where=is_ground[first:])
        table = np.zeros(len(seen) + 1, np.uint8)
        table[1:] = np.concatenate([_static_tags(roadmap), bodies.tag])[seen.owners()]
        np.copyto(out, table.take(self._face), where=self._face > 0)
        return out

    @property
    def instance(self) -> NDArray[np.uint16]:
        """Instance ids: the actor's, or :data:`STATIC_IDS` and up; 0 on ground and sky."""
        roadmap, bodies, _, seen = self._tables
        table = np.zeros(len(seen) + 1, np.uint16)
        ids = np.concatenate([np.arange(len(roadmap.statics)) + STATIC_IDS, bodies.id])
        table[1:] = (ids & 0xFFFF)[seen.owners()]
        return table.take(self._face)


def _to_texture(ground: GroundPicture) -> NDArray[np.float64]:
    """(3, 3) from places on the ground to the texture's pixels, counted from their middles."""
    scale = 1.0 / ground.resolution
    return np.array(
        [[scale, 0.0, -ground.x0 * scale - 0.5], [0.0, scale, -ground.y0 * scale - 0.5], [0.0, 0.0, 1.0]]
    )


def _from_row(first: int) -> NDArray[np.float64]:
    """(3, 3) from pixels, counted from the middles of those of row ``first``, to pixel coordinates."""
    return np.array([[1.0, 0.0, 0.5], [0.0, 1.0, first + 0.5], [0.0, 0.0, 1.0]])


@per_map
def _static_tags(roadmap: RoadMap) -> NDArray[np.uint8]:
    return np.array([static.tag for static in roadmap.statics], np.uint8)
