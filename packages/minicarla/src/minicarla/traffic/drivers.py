"""The server's own traffic: vehicles that drive without a Traffic Manager.

Each driver plans a path along the lanes (``plans``), follows it and keeps its distance (``following``),
reserves its way across junctions (``junctions``), and gets out of where it is stuck (``recovery``).

What every driver does in every tick is done for all of them at once, in arrays with a row for each
driver (``table``).  What happens now and then, such as a junction ahead, is done one by one.
"""

from __future__ import annotations

import random

import numpy as np

from minicarla.bodies import Bodies
from minicarla.maps import RoadMap
from minicarla.physics import models
from minicarla.physics.pedals import pedals
from minicarla.traffic import following
from minicarla.traffic.junctions import Junctions
from minicarla.traffic.kernels import Occupancy
from minicarla.traffic.lights import MapTrafficLights
from minicarla.traffic.network import Network
from minicarla.traffic.plans import SIGHT, Planner
from minicarla.traffic.recovery import Recovery
from minicarla.traffic.room import Room
from minicarla.traffic.table import DriverTable, Situation, TrafficDriver

BESIDE = 0.3  # m between the sides of a driver and of what it does not stop for
STANDING = 0.3  # m/s below which a driver that does not want to go holds the brake
STAND_BRAKE, BACK_THROTTLE = 0.7, 0.3


class Traffic:
    """The server's own drivers.

    Args:
        roadmap: where they drive.
        seed: of the turns that they take.

    ``lights`` are the map's traffic lights.
    """

    def __init__(self, roadmap: RoadMap, seed: int) -> None:
        self.lights = MapTrafficLights(roadmap)
        self.table = DriverTable()
        self._seed = seed
        self._network = Network(roadmap)
        self._occupancy = Occupancy(roadmap.bounds)
        self.room = Room(self._network)
        self._planner = Planner(self.table, self._network, self._occupancy, self.room)
        self._junctions = Junctions(self.table, self._network, self.lights, self._planner, self.room)
        self._recovery = Recovery(self.table)
        self._new: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self.table) + len(self._new)

    def add(self, actor_id: int, pace: float = 1.0) -> None:
        """Drive this vehicle from the next :meth:`decide` on, at ``pace`` times the speed limit."""
        self._new[actor_id] = pace

    def remove(self, actor_id: int) -> None:
        """Stop driving it; nothing happens when it was not driven."""
        self._new.pop(actor_id, None)
        for row, driver in enumerate(self.table):
            if driver.actor_id == actor_id:
                self.room.leave(driver)
                self.table.remove(row)
                break

    def admit(self) -> None:
        """Give a row to each vehicle that was added since the last time."""
        for actor_id, pace in self._new.items():
            # Seeded by the place in the table, not by the actor's id: after all were removed, the same
            # vehicles spawned again take the same turns.
            seed = self._seed * 1_000_003 + len(self.table)
            self.table.add(TrafficDriver(actor_id, random.Random(seed)), pace)
        self._new.clear()

    def decide(self, bodies: Bodies, dt: float) -> None:
        """Set throttle, brake and steer of the driven vehicles for the ``dt`` seconds to come.

        Vehicles whose ``simulate_physics`` is off are driven all the same: it has no effect.
        """
        self.admit()
        table = self.table
        if not len(table):
            return
        now = Situation(table, bodies, dt)
        rows = now.rows
        self._planner.update(now)
        self._recovery.put_back(now)
        self._planner.lengthen(now)
        self._occupancy.paint(bodies.position, bodies.extent, now.cos, now.sin)
        now.gap, now.leader_speed, now.leader = self._occupancy.look_ahead(
            table.paths, bodies, rows, table.at, table.count, now.s, now.cos, now.sin, SIGHT, BESIDE
        )
        self._junctions.decide(now)
        parameters = models.parameters(bodies, rows)
        acceleration = following.acceleration(table, now)
        speed = np.maximum(now.speed, 0.0)
        throttle, brake = pedals(parameters, speed, acceleration)
        steer = following.steer(table, now, parameters)
        stand = ((speed < STANDING) & (acceleration <= 0.05)) | (table.at < 0)
        throttle, brake = np.where(stand, 0.0, throttle), np.where(stand, STAND_BRAKE, brake)
        back = self._recovery.backing_up(now, ~stand & (acceleration > 0.3))
        if back is not None:
            throttle, brake = np.where(back, BACK_THROTTLE, throttle), np.where(back, 0.0, brake)
            steer = np.where(back, -steer, steer)
        bodies.throttle[rows], bodies.brake[rows], bodies.steer[rows] = throttle, brake, steer
        bodies.hand_brake[rows] = False
        bodies.reverse[rows] = False if back is None else back
