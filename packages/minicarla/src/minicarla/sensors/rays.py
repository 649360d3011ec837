"""What a bundle of rays hits: boxes and the ground."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.boxes import Boxes, boxes_of, static_boxes
from minicarla.sensors.raster.ground import ground_of, tags_at
from minicarla.sensors.raster.terrain import terrain_of
from minicarla.sensors.view import WorldView

Array = NDArray[np.float64]


class Hits(NamedTuple):
    """First hit of each of n rays.

    distance: metres; inf where nothing is hit.
    cosine: cosine of the angle between the ray and the normal of what it hits.
    box: row in ``boxes``; -1 for the ground and where nothing is hit.
    tag: semantic tag; 0 where nothing is hit.
    """

    distance: Array
    cosine: Array
    box: NDArray[np.int64]
    tag: NDArray[np.uint8]
    boxes: Boxes


def prepare(roadmap: RoadMap) -> None:
    """Compute what :func:`cast` needs of a map, so that the first measurement need not."""
    static_boxes(roadmap)
    ground_of(roadmap)
    terrain_of(roadmap)


def cast(view: WorldView, pose: Pose, directions: Array, reach: float, parent_id: int) -> Hits:
    """Cast rays from ``pose`` along ``directions`` (n, 3), world frame.  They pass through the parent."""
    boxes = boxes_of(view, pose, reach, parent_id)
    distance, box, cosine = boxes.cast(pose[:3], directions, reach)
    tag = np.where(box >= 0, boxes.tag[box] if len(boxes) else 0, 0).astype(np.uint8)
    terrain = terrain_of(view.roadmap)
    origin = np.array(pose[:3])
    fall = -directions[:, 2]
    height = float(pose.z) - float(terrain.height(origin[None, :2])[0])
    with np.errstate(divide="ignore"):
        ground = np.where(fall > 1e-9, height / np.maximum(fall, 1e-9), np.inf)
    if not terrain.flat:
        for _ in range(4):  # towards the height of the ground where the ray meets it
            at = origin + np.where(np.isfinite(ground), ground, 0.0)[:, None] * directions
            height_there = float(pose.z) - terrain.height(at[:, :2])
            ground = np.where(fall > 1e-9, height_there / np.maximum(fall, 1e-9), np.inf)
    below = (ground > 0.0) & (ground <= reach) & (ground < distance)
    distance = np.where(below, ground, distance)
    cosine = np.where(below, fall, cosine)
    box = np.where(below, -1, box)
    spots = below.nonzero()[0]
    if len(spots):
        tag[spots] = tags_at(view.roadmap, origin + distance[spots, None] * directions[spots])
    return Hits(distance, cosine, box, tag, boxes)
