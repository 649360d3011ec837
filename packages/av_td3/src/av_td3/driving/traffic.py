"""The other vehicles.  Minicarla's own traffic drives them, or the Traffic Manager of CARLA's client."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import carla
import numpy as np

from av_td3.config import SimulatorConfig
from av_td3.driving.session import AUTOPILOT_ROLE, DrivingSession

log = logging.getLogger(__name__)

CLEARANCE = 15.0
"""Metres around the ego's start that are kept free."""


class NpcTraffic:
    """Other vehicles, up to ``config.npc`` of them; a map may have room for fewer.

    On minicarla they are destroyed and spawned again for every episode, so that an episode depends on
    its seed alone.  With the Traffic Manager they stay, since CARLA leaks memory with every vehicle
    that comes and goes; only those that block the start are moved.
    """

    def __init__(
        self, session: DrivingSession, config: SimulatorConfig, spawn_points: Sequence[carla.Transform]
    ) -> None:
        self._session, self._count, self._spawn_points = session, config.npc, list(spawn_points)
        self._speed, self._placement = config.npc_speed, config.npc_placement
        kind = config.traffic
        if kind == "auto":
            kind = "server" if session.is_minicarla else "traffic_manager"
        self.kind = kind
        self.ids: list[int] = []
        """Actor ids of the vehicles."""
        self._manager: carla.TrafficManager | None = None
        self._port = config.traffic_manager_port
        self._blueprints = [
            blueprint
            for blueprint in sorted(session.blueprints.filter("vehicle.*"), key=lambda b: b.id)
            if _is_car(blueprint)
        ]

    def reset(self, start: tuple[float, float, float, float], rng: np.random.Generator) -> None:
        """Place the vehicles for an episode that starts at ``start`` (x, y, z, yaw)."""
        if not self._count:
            return
        free = [
            point
            for point in self._spawn_points
            if np.hypot(point.location.x - start[0], point.location.y - start[1]) > CLEARANCE
        ]
        order = [free[i] for i in rng.permutation(len(free))]
        if self._placement == "near" or (self._placement == "mixed" and rng.random() < 0.5):
            order.sort(key=lambda point: np.hypot(point.location.x - start[0], point.location.y - start[1]))
        if self.kind == "server":
            self._destroy()
            self._spawn(order, rng)
        elif not self.ids:
            self._start_manager(rng)
            self._spawn(order, rng)
        else:
            self._clear_start(start, order)

    def close(self) -> None:
        """Remove the vehicles, then release the Traffic Manager; the other order crashes the client."""
        if self.ids:
            self._destroy()
            self._session.flush()  # the Traffic Manager must see that they are gone
        if self._manager is not None:
            self._manager.set_synchronous_mode(False)

    def _start_manager(self, rng: np.random.Generator) -> None:
        self._manager = self._session.client.get_trafficmanager(self._port)
        self._manager.set_synchronous_mode(True)
        self._manager.set_random_device_seed(int(rng.integers(2**31)))

    def _spawn(self, points: list[carla.Transform], rng: np.random.Generator) -> None:
        batch, shares = [], []
        for point in points[: self._count]:
            blueprint = self._blueprints[int(rng.integers(len(self._blueprints)))]
            if blueprint.has_attribute("color"):
                colours = blueprint.get_attribute("color").recommended_values
                if colours:
                    blueprint.set_attribute("color", colours[int(rng.integers(len(colours)))])
            share = None if self._speed is None else round(100 * rng.uniform(*self._speed))
            shares.append(share)
            prefix = ""
            if self.kind == "server":
                prefix = f"{AUTOPILOT_ROLE}:" if share is None else f"{AUTOPILOT_ROLE}@{share}:"
            blueprint.set_attribute("role_name", prefix + self._session.role)
            command = carla.command.SpawnActor(blueprint, point)
            if self.kind == "traffic_manager":
                command = command.then(
                    carla.command.SetAutopilot(carla.command.FutureActor, True, self._port)
                )
            batch.append(command)
        answers = self._session.client.apply_batch_sync(batch, False)
        self.ids = [answer.actor_id for answer in answers if not answer.error]
        if self._manager is not None and self._speed is not None:
            vehicles = {vehicle.id: vehicle for vehicle in self._session.world.get_actors(self.ids)}
            for answer, share in zip(answers, shares, strict=True):
                if not answer.error and share is not None:
                    # The manager wants percent below the speed limit.
                    self._manager.vehicle_percentage_speed_difference(
                        vehicles[answer.actor_id], float(100 - share)
                    )
        if len(self.ids) < self._count:
            log.warning("the map has room for %d of %d vehicles", len(self.ids), self._count)

    def _clear_start(self, start: tuple[float, float, float, float], free: list[carla.Transform]) -> None:
        vehicles = list(self._session.world.get_actors(self.ids))
        places = [vehicle.get_location() for vehicle in vehicles]
        for vehicle, place in zip(vehicles, tuple(places), strict=True):
            if np.hypot(place.x - start[0], place.y - start[1]) > CLEARANCE:
                continue
            for point in free:
                if all(point.location.distance(other) > CLEARANCE for other in places):
                    vehicle.set_target_velocity(carla.Vector3D())
                    vehicle.set_transform(point)
                    places.append(point.location)
                    break

    def _destroy(self) -> None:
        self._session.destroy(self.ids)
        self.ids = []


def _is_car(blueprint: carla.ActorBlueprint) -> bool:
    if blueprint.get_attribute("number_of_wheels").as_int() != 4:
        return False
    return not blueprint.has_attribute("base_type") or blueprint.get_attribute("base_type").as_str() == "car"
