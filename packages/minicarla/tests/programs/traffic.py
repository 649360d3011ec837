"""Fill a town with vehicles under the Traffic Manager and with pedestrians, in batches."""

import argparse
import json
import random

import carla
from carla.command import DestroyActor, FutureActor, SetAutopilot, SpawnActor


def run(client, args, manager):
    world = client.get_world()
    chance = random.Random(args.seed)
    world.set_pedestrians_seed(args.seed)
    library = world.get_blueprint_library()
    cars = sorted(
        (bp for bp in library.filter("vehicle.*") if bp.get_attribute("base_type") == "car"),
        key=lambda bp: bp.id,
    )
    points = world.get_map().get_spawn_points()
    chance.shuffle(points)
    batch = []
    for point in points[: args.vehicles]:
        blueprint = chance.choice(cars)
        if blueprint.has_attribute("color"):
            blueprint.set_attribute(
                "color", chance.choice(blueprint.get_attribute("color").recommended_values)
            )
        blueprint.set_attribute("role_name", "autopilot")
        batch.append(SpawnActor(blueprint, point).then(SetAutopilot(FutureActor, True, manager.get_port())))
    answers = client.apply_batch_sync(batch, True)
    failed = [answer.error for answer in answers if answer.error]
    vehicles = [answer.actor_id for answer in answers if not answer.error]

    batch = []
    for _ in range(args.walkers):
        place = world.get_random_location_from_navigation()
        if place is not None:
            blueprint = chance.choice(library.filter("walker.pedestrian.*"))
            batch.append(SpawnActor(blueprint, carla.Transform(place)))
    walkers = [answer.actor_id for answer in client.apply_batch_sync(batch, True) if not answer.error]
    brain = library.find("controller.ai.walker")
    batch = [SpawnActor(brain, carla.Transform(), walker) for walker in walkers]
    brains = [answer.actor_id for answer in client.apply_batch_sync(batch, True)]
    world.tick()
    for controller in world.get_actors(brains):
        controller.start()
        controller.go_to_location(world.get_random_location_from_navigation())
        controller.set_max_speed(1.4)

    town = world.get_map()
    here = {actor.id: actor.get_location() for actor in world.get_actors([*vehicles, *walkers])}
    travelled = dict.fromkeys(here, 0.0)
    off, fastest, off_road = [], 0.0, 0
    for tick in range(args.ticks):
        world.tick()
        snapshot = world.get_snapshot()
        for actor_id, old in here.items():
            place = snapshot.find(actor_id).get_transform().location
            travelled[actor_id] += place.distance(old)
            here[actor_id] = place
        if tick % 20 == 0:
            for actor_id in vehicles:
                waypoint = town.get_waypoint(here[actor_id])
                side = waypoint.transform.get_right_vector()
                away = here[actor_id] - waypoint.transform.location
                off.append(abs(away.x * side.x + away.y * side.y))
                fastest = max(fastest, snapshot.find(actor_id).get_velocity().length())
            for actor_id in walkers:
                lane = town.get_waypoint(here[actor_id], lane_type=carla.LaneType.Any)
                off_road += lane.lane_type == carla.LaneType.Driving and not lane.is_junction

    for controller in world.get_actors(brains):
        controller.stop()
    client.apply_batch_sync([DestroyActor(x) for x in [*brains, *walkers, *vehicles]], True)
    left = [a.type_id for a in world.get_actors() if a.type_id.split(".")[0] in ("vehicle", "walker")]
    off.sort()
    return {
        "failed": failed,
        "vehicles": len(vehicles),
        "walkers": len(walkers),
        "driven": sorted(travelled[actor_id] for actor_id in vehicles),
        "walked": sorted(travelled[actor_id] for actor_id in walkers),
        "offset_median": off[len(off) // 2],
        "offset_90": off[int(0.9 * len(off))],
        "fastest": fastest,
        "walkers_on_roads": off_road / max(1, len(walkers) * args.ticks / 20),
        "left": left,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--tm-port", type=int, default=8000)
    parser.add_argument("--vehicles", type=int, default=20)
    parser.add_argument("--walkers", type=int, default=10)
    parser.add_argument("--ticks", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    world = client.get_world()
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    manager = client.get_trafficmanager(args.tm_port)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(args.seed)
    manager.set_global_distance_to_leading_vehicle(2.5)
    try:
        result = run(client, args, manager)
    finally:
        manager.set_synchronous_mode(False)
        world.apply_settings(before)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
