"""The objects that belong to a map, and which of them are there at the moment.

They are what CARLA calls environment objects: houses, trees, poles, walls, the heads of traffic lights, the
plates of signs, and the surfaces and markings of the roads.  Clients switch single ones off and on
(``World.enable_environment_objects``) or whole layers (``World.unload_map_layer``).  No sensor sees an object
that is off, and nothing hits it.  The ground still carries vehicles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.maps import RoadMap
from minicarla.sensors.tags import Tag
from minicarla.wire import structs
from minicarla.world.actors import TrafficLight, TrafficSign
from minicarla.world.table import ActorTable

ANY = 255
"""``carla.CityObjectLabel.Any``"""


class Layer(IntFlag):
    """``carla.MapLayer``: those of its layers that a map of minicarla has objects of."""

    NONE = 0
    BUILDINGS = 1
    FOLIAGE = 4
    STREET_LIGHTS = 128
    WALLS = 256
    ALL = 0xFFFF


_LAYERS = {
    "building": Layer.BUILDINGS,
    "tree": Layer.FOLIAGE,
    "crown": Layer.FOLIAGE,
    "hedge": Layer.FOLIAGE,
    "pole": Layer.STREET_LIGHTS,
    "lamp": Layer.STREET_LIGHTS,
    "wall": Layer.WALLS,
    "fence": Layer.WALLS,
}
"""The layer of a static box by its kind.  Everything else is in no layer and cannot be unloaded."""
_GROUND = {"road": Tag.ROADS, "shoulder": Tag.ROADS, "sidewalk": Tag.SIDEWALKS}
"""Semantic tag of a map's surfaces; the others are terrain."""
_AWAY = 1e5  # metres below the map: where a box lies that is off


class MapObject(NamedTuple):
    """One object.

    part: "static", "light", "sign", "surface" or "marking".  place: where it stands in the map's list of
    these; the actor's id of a light or sign.
    """

    id: int
    name: str
    tag: int
    box: structs.BoundingBox
    part: str
    place: int
    layer: Layer = Layer.NONE


class MapObjects:
    """All objects of an episode's map.

    ``shown`` is the map as it is now, for sensors and physics: the episode's own as long as everything is
    there.  Its lists have the same order and length.  ``hidden_actors`` are the ids of the lights and signs
    that are off.
    """

    def __init__(self, roadmap: RoadMap, actors: ActorTable) -> None:
        self.shown = roadmap
        self.hidden_actors: frozenset[int] = frozenset()
        self._roadmap, self._actors = roadmap, actors
        self._off: set[int] = set()
        self._layers = Layer.ALL

    def all(self) -> list[MapObject]:
        """Every object.  Ids are the same in every call, whatever is off."""
        found: list[MapObject] = []

        def add(name: str, tag: int, box: structs.BoundingBox, part: str, place: int) -> None:
            kind = self._roadmap.statics[place].kind if part == "static" else ""
            layer = _LAYERS.get(kind, Layer.NONE)
            found.append(MapObject(len(found) + 1, name, int(tag), box, part, place, layer))

        for number, static in enumerate(self._roadmap.statics):
            box = structs.BoundingBox(
                structs.Vector3D(*map(float, static.centre)),
                structs.Vector3D(*map(float, static.extent)),
                structs.Rotation(0.0, float(static.yaw), 0.0),
            )
            add(f"{static.kind}_{number}", static.tag, box, "static", number)
        for number, light in enumerate(self._actors.of_kind(TrafficLight)):
            box = light.head_box()._replace(actor_id=0)
            add(f"traffic_light_{number}", Tag.TRAFFIC_LIGHT, box, "light", light.id)
        for number, sign in enumerate(self._actors.of_kind(TrafficSign)):
            box = sign.plate_box()._replace(actor_id=0)
            add(f"traffic_sign_{number}", Tag.TRAFFIC_SIGNS, box, "sign", sign.id)
        for number, surface in enumerate(self._roadmap.surfaces()):
            box = _enclosing(np.concatenate([surface.left, surface.right]))
            tag = _GROUND.get(surface.kind, Tag.TERRAIN)
            add(f"{surface.kind}_surface_{number}", tag, box, "surface", number)
        for number, marking in enumerate(self._roadmap.markings()):
            add(f"road_marking_{number}", Tag.ROAD_LINES, _enclosing(marking.points), "marking", number)
        return found

    def listed(self, tag: int = ANY) -> list[structs.EnvironmentObject]:
        """The objects of a semantic tag (:data:`ANY` for all), with their boxes in the world frame.

        As in CARLA, single objects that are off are listed, those of unloaded layers are not.
        """
        return [
            structs.EnvironmentObject(
                structs.Transform(thing.box.location, thing.box.rotation),
                thing.box,
                thing.id,
                thing.name,
                thing.tag,
            )
            for thing in self.all()
            if tag in (ANY, thing.tag) and self._loaded(thing)
        ]

    def boxes(self, tag: int = ANY) -> list[structs.BoundingBox]:
        """The boxes, in the world frame, of the objects of a semantic tag that are there now."""
        return [
            thing.box
            for thing in self.all()
            if tag in (ANY, thing.tag) and thing.id not in self._off and self._loaded(thing)
        ]

    # ------------------------------------------------------------------ switching

    def enable(self, ids: Iterable[int], enabled: bool) -> list[int]:
        """Switch objects on or off; returns the ids that no object has."""
        wanted = set(ids)
        known = wanted & {thing.id for thing in self.all()}
        self._off = self._off - known if enabled else self._off | known
        self._lay_out()
        return sorted(wanted - known)

    def load(self, layers: int, loaded: bool) -> None:
        """Load layers or unload them (bits of ``carla.MapLayer``); what is loaded is switched on."""
        chosen = Layer(layers & Layer.ALL)
        self._layers = self._layers | chosen if loaded else self._layers & ~chosen
        if loaded:
            self._off -= {thing.id for thing in self.all() if thing.layer & chosen}
        self._lay_out()

    def _loaded(self, thing: MapObject) -> bool:
        return not thing.layer or bool(thing.layer & self._layers)

    def _lay_out(self) -> None:
        off: dict[str, set[int]] = {part: set() for part in ("static", "light", "sign", "surface", "marking")}
        for thing in self.all():
            if thing.id in self._off or not self._loaded(thing):
                off[thing.part].add(thing.place)
        self.hidden_actors = frozenset(off["light"] | off["sign"])
        whole = self._roadmap
        # A box that is off keeps its place in the list, since its number there is its instance id.  A surface
        # that is off is bare ground.
        statics = [
            replace(box, centre=box.centre - (0.0, 0.0, _AWAY), extent=np.full(3, 1e-3), solid=False)
            if number in off["static"]
            else box
            for number, box in enumerate(whole.statics)
        ]
        surfaces = [
            replace(surface, kind="verge") if number in off["surface"] else surface
            for number, surface in enumerate(whole.surfaces())
        ]
        markings = [mark for number, mark in enumerate(whole.markings()) if number not in off["marking"]]
        repainted = bool(off["surface"] or off["marking"])
        if repainted or off["static"]:
            self.shown = whole.altered(statics, (surfaces, markings) if repainted else None)
        else:
            self.shown = whole


def _enclosing(points: NDArray[np.float64]) -> structs.BoundingBox:
    low, high = points.min(0), points.max(0)
    return structs.BoundingBox(
        structs.Vector3D(*(0.5 * (low + high)).tolist()), structs.Vector3D(*(0.5 * (high - low)).tolist())
    )
