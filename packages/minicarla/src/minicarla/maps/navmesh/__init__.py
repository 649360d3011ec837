"""Where pedestrians walk: convex polygons over the sidewalks, the crossings and the streets between.

Each section of a road is a few bands side by side (sidewalk, road, sidewalk).  All bands are cut across
at the same places, so that neighbours share their corners.  The ends of sidewalks that meet are joined.
Where the roads of a junction have no sidewalks, a strip leads around each corner.  A crossing joins the
two sides of a street before every junction, and in the middle of a long street without junctions.

If no road of a map has a sidewalk, pedestrians walk on the shoulders, or on a strip beside the road.

From the ground floor up: ``polygons`` (geometry), ``file`` (the bytes that CARLA's client loads), ``mesh``,
``bands`` (the cross-section of a road), ``sidewalks`` (its strips), ``joining``, ``builder``.
"""

from __future__ import annotations

from minicarla.maps.navmesh.bands import STRIP_WIDTH
from minicarla.maps.navmesh.builder import build
from minicarla.maps.navmesh.file import WALKED, Area
from minicarla.maps.navmesh.mesh import NavMesh

__all__ = ["STRIP_WIDTH", "WALKED", "Area", "NavMesh", "build"]
