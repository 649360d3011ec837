"""Record traffic with a crash, ask what is in the file, and replay it."""

import argparse
import json
import math

import carla


def places(world, ids):
    snapshot = world.get_snapshot()
    return {i: snapshot.find(i).get_transform() for i in ids if snapshot.has_actor(i)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--file", default="recording.log")
    parser.add_argument("--ticks", type=int, default=200)
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    before = client.get_world().get_map().name
    world = client.load_world("grid")
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    library = world.get_blueprint_library()
    points = world.get_map().get_spawn_points()
    try:
        client.start_recorder(args.file, True)
        cars = []
        for number, point in enumerate(points[::7][:5]):
            blueprint = library.filter("vehicle.audi.*")[number % 2]
            blueprint.set_attribute("role_name", "hero" if number == 0 else "traffic")
            cars.append(world.spawn_actor(blueprint, point))
        hero = cars[0]
        front = hero.get_transform()
        block = points[0].location + 25.0 * points[0].get_forward_vector()
        wall = world.spawn_actor(
            library.find("static.prop.streetbarrier"),
            carla.Transform(carla.Location(block.x, block.y, 0.0), points[0].rotation),
        )
        truth = []
        for tick in range(args.ticks):
            for number, car in enumerate(cars):
                car.apply_control(
                    carla.VehicleControl(
                        throttle=0.5, steer=0.0 if number == 0 else 0.02 * math.sin(tick / 9.0)
                    )
                )
            world.tick()
            truth.append(places(world, [car.id for car in cars]))
        client.stop_recorder()
        ids = {car.id: (car.type_id, car.attributes["role_name"]) for car in cars}
        hero_id, wall_id = hero.id, wall.id
        about = client.show_recorder_file_info(args.file, False)
        crashes = client.show_recorder_collisions(args.file, "h", "a")
        blocked = client.show_recorder_actors_blocked(args.file, 1.0, 1.0)
        for actor in [*cars, wall]:
            actor.destroy()
        world.tick()

        client.replay_file(args.file, 0.0, 0.0, 0)
        played = []
        for _ in range(args.ticks + 5):
            world.tick()
            alive = {actor.id for actor in world.get_actors().filter("vehicle.*")}
            played.append(places(world, alive))
        left = world.get_actors().filter("vehicle.*")  # CARLA keeps them when a replay has ended
        client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in left], True)
        # The replay may begin a tick later than the recording did.
        names = sorted(played[0])
        pairs = dict(zip(sorted(ids), names, strict=True))

        def worst(shift):
            return max(
                truth[k][own].location.distance(played[k + shift][pairs[own]].location)
                for k in range(args.ticks - 6)
                for own in ids
                if k + shift >= 0
            )

        result = {
            "error": min(worst(shift) for shift in (-1, 0, 1, 2, 3)),
            "driven": front.location.distance(truth[-1][hero_id].location),
            "vehicles": sorted({len(frame) for frame in played}),
            "frames": int(about.split("Frames: ")[1].split()[0]),
            "names_all": all(kind in about for kind, _ in ids.values()),
            "crashes": [
                line for line in crashes.splitlines() if {str(hero_id), str(wall_id)} <= set(line.split())
            ],
            "blocked": str(hero_id) in blocked,
            "kept": len(left),
            "left": len(world.get_actors().filter("vehicle.*")),
        }
    finally:
        client.load_world(before)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
