"""Drive a route through the town with a PID controller for speed and pure pursuit for steering."""

import argparse
import json
import math
import random

import carla


class Pid:
    def __init__(self, p, i, d, dt):
        self.p, self.i, self.d, self.dt = p, i, d, dt
        self.sum = self.last = 0.0

    def run(self, error):
        self.sum = max(-20.0, min(20.0, self.sum + error * self.dt))
        change = (error - self.last) / self.dt
        self.last = error
        return self.p * error + self.i * self.sum + self.d * change


def plan(town, start, metres, seed):
    chance = random.Random(seed)
    route = [town.get_waypoint(start.location)]
    while len(route) < metres:
        route.append(chance.choice(route[-1].next(1.0)))
    return route


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--metres", type=int, default=400)
    parser.add_argument("--kmh", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    actors = []
    try:
        library = world.get_blueprint_library()
        town = world.get_map()
        start = town.get_spawn_points()[args.seed]
        route = plan(town, start, args.metres, args.seed)
        car = world.spawn_actor(library.find("vehicle.tesla.model3"), start)
        actors.append(car)
        hits, crossings = [], []
        for name, events in (("collision", hits), ("lane_invasion", crossings)):
            sensor = world.spawn_actor(library.find(f"sensor.other.{name}"), carla.Transform(), attach_to=car)
            sensor.listen(events.append)
            actors.append(sensor)
        physics = car.get_physics_control()
        most = math.radians(max(wheel.max_steer_angle for wheel in physics.wheels))
        axles = [wheel.position for wheel in physics.wheels]
        base = 0.01 * math.hypot(axles[0].x - axles[2].x, axles[0].y - axles[2].y)
        speed_control = Pid(0.25, 0.05, 0.0, 0.05)
        nearest, driven, off, speeds, old = 0, 0.0, [], [], start.location
        for _ in range(20):
            world.tick()
        turned = 0.0
        while nearest < len(route) - 8 and len(off) < 4000:
            world.tick()
            pose = car.get_transform()
            speed = car.get_velocity().length()
            driven += pose.location.distance(old)
            old = pose.location
            while nearest < len(route) - 2 and route[nearest + 1].transform.location.distance(
                pose.location
            ) < route[nearest].transform.location.distance(pose.location):
                nearest += 1
            lane = route[nearest].transform
            side = lane.get_right_vector()
            away = pose.location - lane.location
            off.append(abs(away.x * side.x + away.y * side.y))
            speeds.append(3.6 * speed)
            goal = route[min(len(route) - 1, nearest + 5)].transform.location
            back = pose.location - (base / 2.0) * pose.get_forward_vector()
            bearing = math.atan2(goal.y - back.y, goal.x - back.x) - math.radians(pose.rotation.yaw)
            reach = math.hypot(goal.x - back.x, goal.y - back.y)
            wheel = math.atan2(2.0 * base * math.sin(bearing), reach)
            push = speed_control.run(args.kmh / 3.6 - speed)
            turned = max(turned, abs(wheel))
            car.apply_control(
                carla.VehicleControl(
                    throttle=max(0.0, min(1.0, push)),
                    brake=max(0.0, min(1.0, -push)),
                    steer=max(-1.0, min(1.0, wheel / most)),
                )
            )
        steady = speeds[len(speeds) // 4 :]
        result = {
            "finished": nearest >= len(route) - 8,
            "driven": driven,
            "off_most": max(off),
            "off_median": sorted(off)[len(off) // 2],
            "speed": [min(steady), max(steady)],
            "sharpest": math.degrees(turned),
            "collisions": len(hits),
            "crossings": len(crossings),
        }
    finally:
        for actor in reversed(actors):
            actor.destroy()
        settings.synchronous_mode = False
        world.apply_settings(settings)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
