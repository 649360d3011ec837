"""From a map to its mesh."""

from __future__ import annotations

import logging

import numpy as np

from minicarla.maps.navmesh.file import MOST_POLYGONS, MOST_VERTICES, Area
from minicarla.maps.navmesh.joining import lead_around_corners, meet
from minicarla.maps.navmesh.mesh import NavMesh
from minicarla.maps.navmesh.polygons import DisjointSets, convex
from minicarla.maps.navmesh.sidewalks import Sidewalks
from minicarla.maps.roadmap import RoadMap

log = logging.getLogger("minicarla")


def build(roadmap: RoadMap) -> NavMesh | None:
    """The mesh of a map.  None when there is nowhere to walk, or more than a client can hold."""
    # Finite numbers can still overflow together.  What comes out is checked.
    with np.errstate(all="ignore"):
        mesh = _build(roadmap)
    if mesh is None:
        log.warning("there is nowhere to walk on the map %s", roadmap.name)
    elif len(mesh.polygons) > MOST_POLYGONS or len(mesh.vertices) > MOST_VERTICES:
        log.warning("the map %s has more sidewalks than a client can hold", roadmap.name)
        return None
    return mesh


def _build(roadmap: RoadMap) -> NavMesh | None:
    walks = Sidewalks(roadmap)
    if not walks.points:
        return None
    joined = DisjointSets(len(walks.points))
    meet(walks, joined)
    lead_around_corners(walks)
    return _assemble(walks, joined)


def _assemble(walks: Sidewalks, joined: DisjointSets) -> NavMesh | None:
    roots = np.array([joined.find(v) for v in range(len(walks.points))])
    points = np.array(walks.points)
    count = np.bincount(roots, minlength=len(points))[:, None]
    total = np.zeros_like(points)
    np.add.at(total, roots, points)
    points = total / np.maximum(count, 1)
    polygons: list[tuple[int, ...]] = []
    areas: list[Area] = []
    beyond: dict[tuple[int, int], int] = {}
    for strip in walks.strips:
        for cell in strip:
            for corners in convex([int(roots[v]) for v in cell.corners], points):
                edges = list(zip(corners, (*corners[1:], corners[0]), strict=True))
                if any(edge in beyond for edge in edges):
                    continue  # another polygon lies there
                for edge in edges:
                    beyond[edge] = len(polygons)
                polygons.append(corners)
                areas.append(cell.area)
    used = sorted({v for corners in polygons for v in corners})
    if not any(area is Area.SIDEWALK for area in areas):
        return None
    number = {v: k for k, v in enumerate(used)}
    neighbours = [
        tuple(beyond.get((b, a), -1) for a, b in zip(corners, (*corners[1:], corners[0]), strict=True))
        for corners in polygons
    ]
    return NavMesh(
        np.ascontiguousarray(points[used]),
        [tuple(number[v] for v in corners) for corners in polygons],
        areas,
        neighbours,
        walks.roadmap.name,
    )
