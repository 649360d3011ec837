"""An episode: one map and everything that lives on it."""

from __future__ import annotations

from collections.abc import Iterable

from minicarla.geometry import Pose
from minicarla.maps import RoadMap, traffic_signs
from minicarla.physics import Physics
from minicarla.traffic import Traffic
from minicarla.wire import structs
from minicarla.world.actors import Actor, Spectator, TrafficLight, TrafficSign
from minicarla.world.drawings import Drawings
from minicarla.world.friction import FrictionTrigger, FrictionZones
from minicarla.world.map_objects import MapObjects
from minicarla.world.mechanics import Mechanics
from minicarla.world.outlet import Outlet
from minicarla.world.publishing import Publisher
from minicarla.world.roadside import Roadside
from minicarla.world.spawner import Spawner
from minicarla.world.table import ActorTable
from minicarla.world.vehicles import VehicleControls
from minicarla.world.view import View
from minicarla.world.walkers import WalkerControls


class WorldEpisode:
    """The parts of one episode.

    number: of this episode; clients tell episodes apart by it.
    actors: the world's table; it is emptied, then spectator, traffic lights and signs enter.
    seed: of the server's own traffic and of sensors' noise.
    """

    def __init__(
        self,
        number: int,
        roadmap: RoadMap,
        actors: ActorTable,
        outlet: Outlet,
        weather: structs.WeatherParameters,
        seed: int,
    ) -> None:
        self.id = number
        self.roadmap = roadmap
        self.actors = actors
        # First everything that may fail because of the map: then the old episode can go on.
        self.physics = Physics(roadmap)
        self.traffic = Traffic(roadmap, seed)
        self.lights = self.traffic.lights
        description = structs.ActorDescription(0, "spectator", [])
        spectator = Spectator(actors.new_id(), description, Pose(z=10.0))
        lights = [TrafficLight(actors.new_id(), light, roadmap) for light in self.lights.lights]
        signs_of_map = traffic_signs(roadmap)
        signs = [TrafficSign(actors.new_id(), sign) for sign in signs_of_map]
        self.light_ids = [light.id for light in lights]
        """Actor ids of the traffic lights, in their order in ``lights``."""
        self.roadside = Roadside(roadmap, self.lights, self.light_ids, signs_of_map)

        actors.clear()
        for actor in (spectator, *lights, *signs):
            actors.admit(actor)
        self.mechanics = Mechanics(actors)
        self.vehicles = VehicleControls(actors)
        self.walkers = WalkerControls(actors, roadmap, seed)
        self.friction = FrictionZones(actors.bodies)
        self.spawner = Spawner(actors, roadmap, self.traffic, self.vehicles, self.walkers, seed)
        self.view = View(actors, roadmap, weather)
        self.publisher = Publisher(outlet, actors, self.lights, number)
        self.objects = MapObjects(roadmap, actors)
        self.drawings = Drawings()
        self._attached: list[tuple[Actor, Actor]] = []

    def enable_objects(self, ids: Iterable[int], enabled: bool) -> list[int]:
        """Switch objects of the map on or off, see :meth:`MapObjects.enable`."""
        unknown = self.objects.enable(ids, enabled)
        self._show_objects()
        return unknown

    def load_layers(self, layers: int, loaded: bool) -> None:
        """Load or unload layers of the map, see :meth:`MapObjects.load`."""
        self.objects.load(layers, loaded)
        self._show_objects()

    def _show_objects(self) -> None:
        shown = self.objects.shown
        if shown is not self.view.roadmap:
            self.view.roadmap = shown
            self.physics.take(shown.statics)
            self.spawner.show(shown)
        self.view.hidden = self.objects.hidden_actors

    def lay_out(self) -> None:
        """Bring the lists that every tick goes through up to date, if an actor came or went."""
        if self.actors.changed:
            self.actors.changed = False
            others = [actor for actor in self.actors.values() if not actor.embodied]
            self._attached = [(actor, actor.parent) for actor in others if actor.parent is not None]
            self.friction.lay_out(self.actors.of_kind(FrictionTrigger))
            self.publisher.lay_out()

    def follow_parents(self, dt: float) -> None:
        """Move attached actors along with what they are attached to, ``dt`` seconds after the last time."""
        for actor, parent in self._attached:
            actor.follow(self.actors.pose(parent), dt)
