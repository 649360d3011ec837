"""A navigation mesh as the bytes that CARLA's client loads, and back.

The file format is that of the demo of Recast Navigation, version 1.  It begins with the header ``MSET``
and the ``dtNavMeshParams``; then comes each tile after its reference and size.  A tile is laid out as
``dtCreateNavMeshData`` of Detour 1.6 does it: header, vertices, polygons, space for links, detail meshes,
detail vertices and triangles, tree of bounding volumes.  Here is one tile, whatever the size of the map.

Detour is right-handed with y up: CARLA's (x, y, z) is its (x, z, y).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Records = NDArray[Any]
"""An array of one of the records below."""

MOST_SIDES = 6
"""``DT_VERTS_PER_POLYGON``"""
MOST_POLYGONS = 0x7FFE
"""Neighbours are numbers of 15 bits, of which 0 means none."""
MOST_VERTICES = 0xFFFE

WALKER_HEIGHT, WALKER_RADIUS, WALKER_CLIMB = 1.8, 0.3, 0.5
"""Metres.  The first two are the height and the radius of agents in the client's crowd."""

_SET_MAGIC = 0x4D534554  # 'MSET'
_SET_VERSION = 1
_TILE_MAGIC = 0x444E4156  # 'DNAV'
_TILE_VERSION = 7
_MARGIN = 1.0  # metres around the mesh that the tile covers too
_LEAST_CELL = 0.1  # metres; steps of the bounding volumes

PARAMS = np.dtype(
    [
        ("orig", "<f4", 3),
        ("tile_width", "<f4"),
        ("tile_height", "<f4"),
        ("max_tiles", "<i4"),
        ("max_polys", "<i4"),
    ]
)
SET_HEADER = np.dtype([("magic", "<i4"), ("version", "<i4"), ("num_tiles", "<i4"), ("params", PARAMS)])
TILE_ENTRY = np.dtype([("tile_ref", "<u4"), ("data_size", "<i4")])
TILE_HEADER = np.dtype(
    [
        ("magic", "<i4"),
        ("version", "<i4"),
        ("x", "<i4"),
        ("y", "<i4"),
        ("layer", "<i4"),
        ("user_id", "<u4"),
        ("poly_count", "<i4"),
        ("vert_count", "<i4"),
        ("max_link_count", "<i4"),
        ("detail_mesh_count", "<i4"),
        ("detail_vert_count", "<i4"),
        ("detail_tri_count", "<i4"),
        ("bv_node_count", "<i4"),
        ("off_mesh_con_count", "<i4"),
        ("off_mesh_base", "<i4"),
        ("walkable_height", "<f4"),
        ("walkable_radius", "<f4"),
        ("walkable_climb", "<f4"),
        ("bmin", "<f4", 3),
        ("bmax", "<f4", 3),
        ("bv_quant_factor", "<f4"),
    ]
)
POLY = np.dtype(
    [
        ("first_link", "<u4"),
        ("verts", "<u2", MOST_SIDES),
        ("neis", "<u2", MOST_SIDES),  # number of the polygon beyond each edge, plus 1; 0 is none
        ("flags", "<u2"),
        ("vert_count", "u1"),
        ("area_and_type", "u1"),  # type in the upper two bits: 0 is ground
    ]
)
LINK = np.dtype(
    [
        ("ref", "<u4"),
        ("next", "<u4"),
        ("edge", "u1"),
        ("side", "u1"),
        ("bmin", "u1"),
        ("bmax", "u1"),
    ]
)
POLY_DETAIL = np.dtype(
    [
        ("vert_base", "<u4"),
        ("tri_base", "<u4"),
        ("vert_count", "u1"),
        ("tri_count", "u1"),
        ("padding", "<u2"),
    ]
)
DETAIL_TRI = np.dtype([("verts", "u1", 3), ("edges", "u1")])  # edges: two bits each, 1 on the border
BV_NODE = np.dtype([("bmin", "<u2", 3), ("bmax", "<u2", 3), ("i", "<i4")])
VERTEX = np.dtype(("<f4", 3))

_SIZES = {
    SET_HEADER: 40,
    TILE_ENTRY: 8,
    TILE_HEADER: 100,
    POLY: 32,
    LINK: 12,
    POLY_DETAIL: 12,
    DETAIL_TRI: 4,
    BV_NODE: 16,
}
assert all(layout.itemsize == size for layout, size in _SIZES.items())


class Area(enum.IntEnum):
    """``carla::nav::NavAreas``; ``flag`` is the matching one of ``SamplePolyFlags``."""

    SIDEWALK = 1
    CROSSWALK = 2
    ROAD = 3
    GRASS = 4

    @property
    def flag(self) -> int:
        return 1 << self.value


WALKED = frozenset({Area.SIDEWALK, Area.CROSSWALK})
"""Where pedestrians walk."""


class MeshLike(Protocol):
    """The part of ``navmesh.NavMesh`` that the file holds."""

    @property
    def vertices(self) -> Floats: ...
    @property
    def polygons(self) -> Sequence[tuple[int, ...]]: ...
    @property
    def areas(self) -> Sequence[Area]: ...
    @property
    def neighbours(self) -> Sequence[tuple[int, ...]]: ...


def pack(mesh: MeshLike) -> bytes:
    """The file of a mesh.

    Raises:
        ValueError: it has more polygons or vertices than one tile can hold.
    """
    count = len(mesh.polygons)
    if count > MOST_POLYGONS or len(mesh.vertices) > MOST_VERTICES:
        raise ValueError(f"{count} polygons with {len(mesh.vertices)} vertices are more than a tile holds")
    tile = _tile(mesh)
    low, high = _bounds(mesh)
    header = np.zeros((), SET_HEADER)
    header["magic"], header["version"], header["num_tiles"] = _SET_MAGIC, _SET_VERSION, 1
    params = header["params"]
    params["orig"] = low
    params["tile_width"], params["tile_height"] = (high - low)[[0, 2]]
    params["max_tiles"], params["max_polys"] = 1, count
    entry = np.zeros((), TILE_ENTRY)
    # A reference is salt, tile and polygon, in bits; tile 0 of 1 needs none.
    entry["tile_ref"] = 1 << (count - 1).bit_length()
    entry["data_size"] = len(tile)
    return header.tobytes() + entry.tobytes() + tile


def _bounds(mesh: MeshLike) -> tuple[Floats, Floats]:
    points = mesh.vertices[:, [0, 2, 1]]
    return points.min(0) - _MARGIN, points.max(0) + _MARGIN


def _tile(mesh: MeshLike) -> bytes:
    points = mesh.vertices[:, [0, 2, 1]].astype(np.float32)
    low, high = _bounds(mesh)
    cell = max(_LEAST_CELL, float((high - low).max()) / 65000.0)
    polys = np.zeros(len(mesh.polygons), POLY)
    for poly, corners, beyond, area in zip(polys, mesh.polygons, mesh.neighbours, mesh.areas, strict=True):
        poly["verts"][: len(corners)] = corners
        poly["neis"][: len(corners)] = [other + 1 for other in beyond]
        poly["flags"], poly["area_and_type"] = area.flag, area
        poly["vert_count"] = len(corners)
    details, triangles = _details(mesh)
    nodes = _tree(_boxes(mesh, points, low, cell))
    links = np.zeros(sum(map(len, mesh.polygons)), LINK)  # Detour fills them in
    header = np.zeros((), TILE_HEADER)
    header["magic"], header["version"] = _TILE_MAGIC, _TILE_VERSION
    header["poly_count"], header["vert_count"], header["max_link_count"] = len(polys), len(points), len(links)
    header["detail_mesh_count"], header["detail_tri_count"] = len(details), len(triangles)
    header["bv_node_count"], header["off_mesh_base"] = len(nodes), len(polys)
    header["walkable_height"], header["walkable_radius"] = WALKER_HEIGHT, WALKER_RADIUS
    header["walkable_climb"] = WALKER_CLIMB
    header["bmin"], header["bmax"], header["bv_quant_factor"] = low, high, 1.0 / cell
    parts = (header, points, polys, links, details, triangles, nodes)
    return b"".join(part.tobytes() for part in parts)


def _details(mesh: MeshLike) -> tuple[Records, Records]:
    """Each polygon's surface: a fan of triangles on its own corners."""
    details = np.zeros(len(mesh.polygons), POLY_DETAIL)
    details["tri_count"] = [len(corners) - 2 for corners in mesh.polygons]
    details["tri_base"] = np.cumsum(details["tri_count"].astype(np.int64)) - details["tri_count"]
    triangles = np.zeros(int(details["tri_count"].sum()), DETAIL_TRI)
    at = 0
    for corners in mesh.polygons:
        last = len(corners) - 1
        for k in range(2, last + 1):
            triangles["verts"][at] = 0, k - 1, k
            triangles["edges"][at] = (k == 2) | 1 << 2 | (k == last) << 4
            at += 1
    return details, triangles


def _boxes(mesh: MeshLike, points: NDArray[np.float32], low: Floats, cell: float) -> NDArray[np.int64]:
    """Bounds of each polygon in cells: (n, 6), its least corner and its greatest one."""
    boxes = np.empty((len(mesh.polygons), 6))
    for box, corners in zip(boxes, mesh.polygons, strict=True):
        inside = points[list(corners)]
        box[:3], box[3:] = inside.min(0) - low, inside.max(0) - low
    return np.concatenate([np.floor(boxes[:, :3] / cell), np.ceil(boxes[:, 3:] / cell)], axis=1).astype(
        np.int64
    )


def _tree(boxes: NDArray[np.int64]) -> Records:
    """The tree of bounding volumes, parents before children.

    ``i`` of a leaf is its polygon; of any other node it is minus the number of nodes from it to the
    last one below it.
    """
    nodes = np.zeros(2 * len(boxes) - 1, BV_NODE)
    at = 0

    def enter(rows: NDArray[np.int64]) -> None:
        nonlocal at
        node, mine = nodes[at : at + 1], at
        at += 1
        node["bmin"], node["bmax"] = boxes[rows, :3].min(0), boxes[rows, 3:].max(0)
        if len(rows) == 1:
            node["i"] = rows[0]
            return
        middle = boxes[rows, :3] + boxes[rows, 3:]
        axis = int(np.ptp(middle, axis=0).argmax())
        rows = rows[np.argsort(middle[:, axis], kind="stable")]
        enter(rows[: len(rows) // 2])
        enter(rows[len(rows) // 2 :])
        node["i"] = mine - at

    enter(np.arange(len(boxes)))
    return nodes


def unpack(data: bytes) -> dict[str, Records]:
    """The tables of a file of one tile.

    Returns: "set", "entry", "header", "verts", "polys", "links", "details", "tris" and "nodes".

    Raises:
        ValueError: the bytes are not such a file.
    """
    tables: dict[str, Records] = {}
    at = 0

    def take(name: str, layout: np.dtype[Any], count: int = 1) -> Records:
        nonlocal at
        tables[name] = np.frombuffer(data, layout, count, at)
        at += tables[name].nbytes
        return tables[name]

    outer, entry = take("set", SET_HEADER), take("entry", TILE_ENTRY)
    header = take("header", TILE_HEADER)[0]
    if outer["magic"][0] != _SET_MAGIC or header["magic"] != _TILE_MAGIC:
        raise ValueError("this is not a navigation mesh")
    take("verts", VERTEX, header["vert_count"])
    take("polys", POLY, header["poly_count"])
    take("links", LINK, header["max_link_count"])
    take("details", POLY_DETAIL, header["detail_mesh_count"])
    take("tris", DETAIL_TRI, header["detail_tri_count"])
    take("nodes", BV_NODE, header["bv_node_count"])
    if at != len(data) or entry["data_size"][0] != len(data) - SET_HEADER.itemsize - TILE_ENTRY.itemsize:
        raise ValueError("the navigation mesh has another size than it says")
    return tables
