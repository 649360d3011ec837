"""The table of actors: who exists, under which id, where, and how the client is told of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TypeVar

from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.wire import stream, structs
from minicarla.world.actors import Actor, SensorActor, Spectator, TrafficLight, Vehicle, Walker
from minicarla.world.outlet import CarlaError, Outlet

MAX_ACTORS = 10_000
_REMEMBERED_BOXES = 1024
"""How many destroyed actors keep their bounding box, the latest ones."""

A = TypeVar("A", bound=Actor)


class ActorTable(Mapping[int, Actor]):
    """All actors by id, in order of spawning.

    The table outlives episodes: ids and stream numbers are never used twice.  :meth:`clear` empties
    it for a new episode.

    ``bodies`` holds the state of the actors that move or can be bumped into.  ``sensors`` are the
    actors that send messages.  ``changed`` is True since an actor came or went; whoever keeps lists
    made from the table makes them anew and sets it to False.
    """

    spectator: Spectator

    def __init__(self, outlet: Outlet) -> None:
        self.bodies = Bodies()
        self.sensors: list[SensorActor] = []
        self.changed = True
        self._outlet = outlet
        self._actors: dict[int, Actor] = {}
        self._boxes: OrderedDict[int, structs.BoundingBox] = OrderedDict()
        self._next_id = 1
        self._next_stream = stream.WORLD_STREAM + 1

    def __getitem__(self, actor_id: int) -> Actor:
        return self._actors[actor_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._actors)

    def __len__(self) -> int:
        return len(self._actors)

    def new_id(self) -> int:
        """An actor id that was never used before."""
        self._next_id += 1
        return self._next_id - 1

    def new_stream(self) -> int:
        """A stream number that was never used before."""
        self._next_stream += 1
        return self._next_stream - 1

    def admit(self, actor: A) -> A:
        """Enter an actor; its row in ``bodies``, if it has one, is there already."""
        self._actors[actor.id] = actor
        if isinstance(actor, Spectator):
            self.spectator = actor
        elif isinstance(actor, SensorActor) and actor.stream:
            self.sensors.append(actor)
        self.changed = True
        return actor

    def remove(self, actor: Actor) -> None:
        """Take an actor out.  What is attached to it stays where it is, as in CARLA."""
        del self._actors[actor.id]
        if actor.parent is not None:
            actor.parent.children.remove(actor)
        for child in actor.children:
            child.parent = None
        if isinstance(actor, SensorActor) and actor.stream:
            self.sensors.remove(actor)
        if actor.embodied:
            self.bodies.remove(actor.id)
            self._boxes[actor.id] = actor.box
            if len(self._boxes) > _REMEMBERED_BOXES:
                self._boxes.popitem(last=False)
        self.changed = True

    def clear(self) -> None:
        """Remove all actors; their ids stay used."""
        self._actors.clear()
        self.sensors.clear()
        self.bodies.clear()
        self.changed = True

    # ------------------------------------------------------------------ looking up

    def find(self, actor_id: int) -> Actor:
        """The actor; CarlaError when there is none of that id."""
        actor = self._actors.get(actor_id)
        if actor is None:
            raise CarlaError(f"Responding error: actor {actor_id} not found")
        return actor

    def find_vehicle(self, actor_id: int) -> Vehicle:
        """The vehicle; CarlaError when that id is not a vehicle's."""
        return self._find(actor_id, Vehicle, "a vehicle")

    def find_walker(self, actor_id: int) -> Walker:
        """The walker; CarlaError when that id is not a walker's."""
        return self._find(actor_id, Walker, "a walker")

    def find_light(self, actor_id: int) -> TrafficLight:
        """The traffic light; CarlaError when that id is not a traffic light's."""
        return self._find(actor_id, TrafficLight, "a traffic light")

    def _find(self, actor_id: int, kind: type[A], what: str) -> A:
        actor = self.find(actor_id)
        if not isinstance(actor, kind):
            raise CarlaError(f"Responding error: actor {actor_id} is not {what}")
        return actor

    def of_kind(self, kind: type[A]) -> list[A]:
        """All actors of a class, in order of spawning."""
        return [actor for actor in self._actors.values() if isinstance(actor, kind)]

    def body_row(self, actor_id: int) -> int | None:
        """Row of an actor in ``bodies``; None if it has no body.  CarlaError when there is no such actor."""
        return self.bodies.row(actor_id) if self.find(actor_id).embodied else None

    def was_destroyed(self, actor_id: int) -> bool:
        """Whether that id belonged to one of the actors with a body that were destroyed last."""
        return actor_id in self._boxes

    def pose(self, actor: Actor) -> Pose:
        """Where an actor is, in the world frame."""
        if not actor.embodied:
            return actor.pose
        row = self.bodies.row(actor.id)
        return Pose(*self.bodies.position[row].tolist(), *self.bodies.rotation[row].tolist())

    # ------------------------------------------------------------------ what clients are told

    def publish(self, actor: Actor) -> structs.ActorRecord:
        """Wire form of an actor."""
        return structs.ActorRecord(
            actor.id,
            actor.parent.id if actor.parent is not None else 0,
            actor.description,
            actor.box,
            actor.tags,
            self._outlet.token(actor.stream) if actor.stream else b"",
        )

    def bounding_box(self, actor_id: int) -> structs.BoundingBox:
        """Box of an actor, or the last known box of a destroyed one.

        A Traffic Manager asks for vehicles that were destroyed since its last look.  An error would
        abort its whole process.
        """
        actor = self._actors.get(actor_id)
        box = actor.box if actor is not None else self._boxes.get(actor_id)
        if box is None:
            raise CarlaError(f"Responding error: actor {actor_id} not found")
        return box
