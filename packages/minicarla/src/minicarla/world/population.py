"""The server's own vehicles and pedestrians, put on the map at the start of an episode."""

from __future__ import annotations

import logging

import numpy as np

from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.traffic.walkers import places
from minicarla.world import blueprints
from minicarla.world.blueprints import AUTOPILOT_ROLE
from minicarla.world.outlet import CarlaError
from minicarla.world.spawner import Spawner
from minicarla.world.walkers import navigation_of

log = logging.getLogger("minicarla")


def add_vehicles(spawner: Spawner, roadmap: RoadMap, count: int, seed: int) -> None:
    """Put ``count`` vehicles on spawn points, as many as there is room for; the seed chooses."""
    random = np.random.default_rng([seed, 2])
    points = roadmap.spawn_points
    cars = [row for row in blueprints.VEHICLES if row.base_type in ("car", "van")]
    placed = 0
    for index in random.permutation(len(points)):
        if placed == count:
            return
        car = cars[int(random.integers(len(cars)))]
        paint = str(random.choice(car.colours)) if car.colours else "33,33,33"
        description = blueprints.describe(car.id, role_name=AUTOPILOT_ROLE, color=paint)
        try:
            spawner.spawn(description, points[int(index)])
            placed += 1
        except CarlaError:
            continue
    if placed < count:
        log.warning("the map has room for %d of %d vehicles", placed, count)


def add_pedestrians(spawner: Spawner, roadmap: RoadMap, count: int, seed: int) -> None:
    """Put ``count`` pedestrians on the sidewalks, as many as there is room for; the seed chooses."""
    placed = 0
    mesh = navigation_of(roadmap) if count else None
    if mesh is not None:
        random = np.random.default_rng([seed, 4])
        for x, y, z in places(mesh, 4 * count, seed):
            if placed == count:
                return
            who = blueprints.WALKERS[int(random.integers(len(blueprints.WALKERS)))]
            description = blueprints.describe(who, role_name=AUTOPILOT_ROLE)
            extent = blueprints.WALKER_EXTENT[blueprints.age_of(description)]
            yaw = float(random.uniform(-180.0, 180.0))
            try:
                spawner.spawn(description, Pose(x, y, z + extent[2], yaw=yaw))
                placed += 1
            except CarlaError:
                continue
    if placed < count:
        log.warning("the sidewalks have room for %d of %d pedestrians", placed, count)
