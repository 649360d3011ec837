"""From a map to its mesh."""

from __future__ import annotations

import logging

import numpy as np

from minicarla.maps.navmesh.file import MOST_POLYGONS, MOST_VERTICES, WALKED, Area
from minicarla.maps.navmesh.joining import lead_around_corners, meet
from minicarla.maps.navmesh.mesh import NavMesh
from minicarla.maps.navmesh.polygons import DisjointSets, convex
from minicarla.maps.navmesh.sidewalks import Sidewalks
from minicarla.maps.roadmap import RoadMap

log = logging.getLogger("minicarla")

SMALLEST_PART = 4.0
"""Square metres.  A smaller part that nothing joins to the rest is left out: nobody put there can leave."""


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
    mesh = _assemble(walks, joined)
    return None if mesh is None else _without_slivers(mesh)


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


def _without_slivers(mesh: NavMesh) -> NavMesh:
    """The mesh without small parts of sidewalk that lie alone, as they arise where streets meet sharply."""
    walked = np.array([area in WALKED for area in mesh.areas])
    sizes = np.array([mesh.size(polygon) for polygon in range(len(mesh.polygons))])
    size_of_part = np.bincount(mesh.components, weights=sizes)
    small = walked & (size_of_part[mesh.components] < SMALLEST_PART)
    if not small.any() or (small == walked).all():
        return mesh
    kept = np.flatnonzero(~small)
    used = sorted({v for polygon in kept for v in mesh.polygons[polygon]})
    vertex = {v: k for k, v in enumerate(used)}
    number = {int(polygon): k for k, polygon in enumerate(kept)}
    return NavMesh(
        np.ascontiguousarray(mesh.vertices[used]),
        [tuple(vertex[v] for v in mesh.polygons[polygon]) for polygon in kept],
        [mesh.areas[polygon] for polygon in kept],
        [tuple(number.get(other, -1) for other in mesh.neighbours[polygon]) for polygon in kept],
        mesh.name,
    )
