"""Programs with the real client, each in a process of its own: ``python -m ... PROGRAM PORT ARGUMENTS...``.

Each prints what it found as JSON, one value a line.  It ends by ``os._exit``, because the destructors of
CARLA's client now and then abort the process.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import queue
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import carla

from minicarla.wire import stream, structs, token
from minicarla.wire.client import Caller, Subscription

PATIENCE = 20.0
"""Seconds that a client waits for any reply; generous, for busy machines."""


def say(value: Any) -> None:
    """Send a JSON value to the process that started this one."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def listen() -> Any:
    """The next JSON value from the process that started this one."""
    return json.loads(sys.stdin.readline())


def free_port() -> int:
    """A free port for a Traffic Manager."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """A client that has switched the world to synchronous mode."""

    def __init__(self, port: int, delta: float = 0.05) -> None:
        self.port = port
        self.client = carla.Client("127.0.0.1", port)
        self.client.set_timeout(PATIENCE)
        self.world = self.client.get_world()
        settings = self.world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, delta
        self.world.apply_settings(settings)
        self.map = self.world.get_map()
        self.library = self.world.get_blueprint_library()

    def blueprint(self, name: str, **attributes: Any) -> carla.ActorBlueprint:
        """A blueprint with attributes."""
        found = self.library.find(name)
        for key, value in attributes.items():
            found.set_attribute(key, str(value))
        return found

    def car(self, start: int = 0) -> carla.Vehicle:
        """Spawn a Model 3 at the first free spawn point, searching from a given number on."""
        points = self.map.get_spawn_points()
        for point in points[start:] + points[:start]:
            car = self.world.try_spawn_actor(self.blueprint("vehicle.tesla.model3"), point)
            if car is not None:
                return car
        raise RuntimeError("there is no room for a car")

    def camera(
        self, car: carla.Actor, width: int = 84, height: int = 84
    ) -> tuple[carla.Sensor, queue.Queue[carla.Image]]:
        """Attach a camera to a car; the camera and the queue of its pictures."""
        blueprint = self.blueprint("sensor.camera.rgb", image_size_x=width, image_size_y=height)
        eye = self.world.spawn_actor(blueprint, carla.Transform(carla.Location(x=1.5, z=2.0)), attach_to=car)
        pictures: queue.Queue[carla.Image] = queue.Queue()
        eye.listen(pictures.put)
        return eye, pictures


def picture_of(pictures: queue.Queue[carla.Image], frame: int) -> carla.Image:
    """Wait for the picture of a frame."""
    while True:
        picture = pictures.get(timeout=PATIENCE)
        if picture.frame == frame:
            return picture
        if picture.frame > frame:
            raise RuntimeError(f"the picture of frame {frame} did not come")


def follow_lane(stage: Stage, car: carla.Vehicle, others: list[carla.Actor], speed: float = 8.0) -> None:
    """Controls that follow the lane and stop before an obstacle."""
    pose, velocity = car.get_transform(), car.get_velocity()
    now = math.hypot(velocity.x, velocity.y)
    ahead = stage.map.get_waypoint(pose.location).next(3.0 + 0.4 * now)
    target = (ahead[0] if ahead else stage.map.get_waypoint(pose.location)).transform.location
    forward, right = pose.get_forward_vector(), pose.get_right_vector()

    def seen(place: carla.Location) -> tuple[float, float]:
        x, y = place.x - pose.location.x, place.y - pose.location.y
        return x * forward.x + y * forward.y, x * right.x + y * right.y

    x, y = seen(target)
    blocked = any(
        0.0 < u < 6.0 + now and abs(v) < 2.0 for u, v in (seen(other.get_location()) for other in others)
    )
    control = carla.VehicleControl(steer=max(-1.0, min(1.0, 1.5 * math.atan2(y, max(x, 0.1)))))
    if blocked:
        control.brake = 0.8
    else:
        control.throttle = 0.6 if now < speed else 0.0
    car.apply_control(control)


# ---------------------------------------------------------------------- determinism


class Tap:
    """Reads a stream a second time; computes a digest of its raw messages, headers included."""

    def __init__(self, port: int, stream_id: int) -> None:
        self.messages: dict[int, bytes] = {}
        self._subscription = Subscription(Caller("127.0.0.1", port, PATIENCE), stream_id, self._take)

    def _take(self, message: bytes) -> None:
        self.messages[stream.parse_header(message).frame] = hashlib.sha256(message).digest()

    def digest(self, first: int, last: int) -> str:
        """Digest of all messages of the frames; RuntimeError when one is missing."""
        deadline = time.monotonic() + PATIENCE
        while last not in self.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        whole = hashlib.sha256()
        for frame in range(first, last + 1):
            if frame not in self.messages:
                raise RuntimeError(f"no message of frame {frame}")
            whole.update(self.messages[frame])
        return whole.hexdigest()


def _numbers(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def repeat(port: int, ticks: int, walkers: int, dawdle: int) -> None:
    """Drive an ego among other vehicles; send digests of the raw messages and of what the client reads.

    walkers: how many of them an AI of the client's moves.  dawdle: 1 to pause at random moments.
    """
    stage = Stage(port)
    world = stage.world
    car = stage.car(7)
    eye, pictures = stage.camera(car)
    world.set_pedestrians_seed(5)
    world.set_pedestrians_cross_factor(0.2)
    crowd = []
    for number in range(walkers):
        place = world.get_random_location_from_navigation()
        blueprint = stage.blueprint(f"walker.pedestrian.{number + 1:04}", is_invincible="false")
        walker = world.try_spawn_actor(blueprint, carla.Transform(place + carla.Location(z=1.0)))
        if walker is not None:
            mind = stage.blueprint("controller.ai.walker")
            crowd.append((walker, world.spawn_actor(mind, carla.Transform(), attach_to=walker)))
    world.tick()
    for _, mind in crowd:
        mind.start()
        mind.go_to_location(world.get_random_location_from_navigation())
        mind.set_max_speed(1.4)
    taps = Tap(port, stream.WORLD_STREAM), Tap(port, camera_stream(port, eye.id))
    others = [a for a in world.get_actors() if a.type_id[:6] in ("vehicl", "walker") and a.id != car.id]
    time.sleep(0.3)  # until the streams are open
    first, seen, shown, driven, chance = (
        0,
        hashlib.sha256(),
        hashlib.sha256(),
        0.0,
        random.Random(time.time()),
    )
    before = car.get_location()
    for _ in range(ticks):
        follow_lane(stage, car, others)
        frame = world.tick(PATIENCE)
        first = first or frame
        snapshot = world.get_snapshot()
        for actor in sorted(snapshot, key=lambda actor: actor.id):
            pose = actor.get_transform()
            row = (
                *_numbers(pose.location),
                *(pose.rotation.pitch, pose.rotation.yaw, pose.rotation.roll),
                *_numbers(actor.get_velocity()),
                *_numbers(actor.get_angular_velocity()),
                *_numbers(actor.get_acceleration()),
            )
            seen.update(struct.pack("<Q15d", actor.id, *row))
        shown.update(bytes(picture_of(pictures, frame).raw_data))
        here = car.get_location()
        driven += here.distance(before)
        before = here
        if dawdle and chance.random() < 0.02:
            time.sleep(0.01 * chance.random())
    say(
        {
            "messages": [tap.digest(first, frame) for tap in taps],
            "snapshots": seen.hexdigest(),
            "pictures": shown.hexdigest(),
            "actors": len(list(world.get_snapshot())),
            "crowd": len(crowd),
            "driven": driven,
        }
    )


def camera_stream(port: int, actor_id: int) -> int:
    """Id of a sensor's stream."""
    caller = Caller("127.0.0.1", port, PATIENCE)
    (actor,) = caller.call("get_actors_by_id", [actor_id], result=list[structs.ActorRecord])
    caller.close()
    return token.unpack(actor.stream_token)[0]


# ---------------------------------------------------------------------- memory


def spawn_and_destroy(port: int, cycles: int, every: int) -> None:
    """Spawn and destroy cars, walkers and sensors; report how many cycles are done."""
    stage = Stage(port)
    world = stage.world
    points = stage.map.get_spawn_points()
    kinds = [blueprint.id for blueprint in stage.library.filter("vehicle.*")]
    for cycle in range(1, cycles + 1):
        kind = kinds[cycle % len(kinds)]
        car = world.spawn_actor(stage.blueprint(kind), points[cycle % len(points)])
        eye, pictures = stage.camera(car)
        feeler = world.spawn_actor(
            stage.blueprint("sensor.other.collision"), carla.Transform(), attach_to=car
        )
        feeler.listen(lambda _: None)
        aside = points[(cycle + len(points) // 2) % len(points)]
        walker = world.spawn_actor(stage.blueprint("walker.pedestrian.0001"), aside)
        picture_of(pictures, world.tick(PATIENCE))
        for sensor in (eye, feeler):
            sensor.stop()
        for actor in (eye, feeler, walker, car):
            if not actor.destroy():
                raise RuntimeError(f"{actor.type_id} was not destroyed")
        if cycle % every == 0:
            world.tick(PATIENCE)
            say({"done": cycle, "actors": len(world.get_actors())})
            listen()


def tick_on(port: int, ticks: int, every: int) -> None:
    """Drive an ego with a camera forwards and backwards; report how many ticks are done."""
    stage = Stage(port)
    car = stage.car()
    _, pictures = stage.camera(car)
    for tick in range(1, ticks + 1):
        phase = tick // 20 % 4
        car.apply_control(
            carla.VehicleControl(
                0.4 * (phase % 2 == 0), 0.02 * (tick % 2), 1.0 * (phase % 2), reverse=phase >= 2
            )
        )
        picture_of(pictures, stage.world.tick(PATIENCE))
        if tick % every == 0:
            say({"done": tick, "actors": len(stage.world.get_actors())})
            listen()


# ---------------------------------------------------------------------- clients that vanish


def hold(port: int, managed: int) -> None:
    """Hold sensors, streams, a Traffic Manager and the synchronous mode, and tick until killed.

    It sends what it spawned and nothing more; ``managed`` cars drive under the Traffic Manager.
    """
    stage = Stage(port)
    world = stage.world
    car = stage.car()
    mine = [car.id]
    for name in ("sensor.camera.rgb", "sensor.lidar.ray_cast", "sensor.other.collision", "sensor.other.imu"):
        sensor = world.spawn_actor(
            stage.blueprint(name), carla.Transform(carla.Location(z=2.0)), attach_to=car
        )
        sensor.listen(lambda _: None)
        mine.append(sensor.id)
    manager_port = free_port()
    manager = stage.client.get_trafficmanager(manager_port)
    manager.set_synchronous_mode(True)
    for _ in range(managed):
        other = stage.car(20)
        other.set_autopilot(True, manager_port)
        mine.append(other.id)
    for _ in range(5):
        world.tick(PATIENCE)
    say({"actors": mine, "manager": manager_port})
    while True:
        world.tick(PATIENCE)


def manage(port: int, managed: int, ticks: int) -> None:
    """Let a synchronous Traffic Manager drive cars, beside an ego with a camera; send each hundredth frame.

    After every hundred ticks the program does something else for a quarter of a second.
    """
    stage = Stage(port)
    manager_port = free_port()
    manager = stage.client.get_trafficmanager(manager_port)
    manager.set_synchronous_mode(True)
    car = stage.car()
    _, pictures = stage.camera(car)
    here = car.get_transform().location
    points = [p for p in stage.map.get_spawn_points() if p.location.distance(here) > 10.0]
    random.Random(1).shuffle(points)
    spawn, autopilot, future = (
        getattr(carla.command, name) for name in ("SpawnActor", "SetAutopilot", "FutureActor")
    )
    cars = [
        spawn(stage.blueprint("vehicle.audi.tt"), p).then(autopilot(future, True, manager_port))
        for p in points[:managed]
    ]
    stage.client.apply_batch_sync(cars, True)
    for tick in range(ticks):
        car.apply_control(carla.VehicleControl(throttle=0.3))
        frame = stage.world.tick(PATIENCE)
        picture_of(pictures, frame)
        if tick % 100 == 99:
            say(frame)
            end = time.monotonic() + 0.25
            while time.monotonic() < end:
                pass


def come_next(port: int) -> None:
    """Be the next client: tick, report the actors and the seconds it took, destroy those that are named."""
    say("ready")
    leftovers = listen()
    start = time.monotonic()
    stage = Stage(port)
    stage.world.tick(PATIENCE)
    elapsed = time.monotonic() - start
    found = sorted(actor.id for actor in stage.world.get_actors())
    orders = [carla.command.DestroyActor(actor) for actor in leftovers]
    stage.client.apply_batch_sync(orders, True)
    left = sorted(actor.id for actor in stage.world.get_actors())
    say({"seconds": elapsed, "found": found, "left": left})


def stare(port: int, width: int, height: int) -> None:
    """Read pictures of this size from a camera until killed."""
    stage = Stage(port)
    car = stage.car()
    _, pictures = stage.camera(car, width, height)
    picture_of(pictures, stage.world.tick(PATIENCE))
    say("ready")
    while True:
        pictures.get()


def keep_ticking(port: int) -> None:
    """Tick a number of times; report the seconds of each tick."""
    stage = Stage(port)
    say("ready")
    while ticks := listen():
        seconds = []
        for _ in range(ticks):
            start = time.perf_counter()
            stage.world.tick(PATIENCE)
            seconds.append(time.perf_counter() - start)
        say(seconds)


# ---------------------------------------------------------------------- agreement


def survey(port: int) -> None:
    """Report what the client knows about the server's map at given places."""
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(PATIENCE)
    roads = client.get_world().get_map()

    def pose(transform: carla.Transform) -> list[float]:
        return [*_numbers(transform.location), transform.rotation.yaw]

    def key(waypoint: carla.Waypoint) -> list[int]:
        return [waypoint.road_id, waypoint.section_id, waypoint.lane_id]

    def mark(marking: carla.LaneMarking | None) -> list[Any] | None:
        return marking and [str(marking.type), str(marking.color), marking.width]

    say(
        {
            "topology": [[key(start), key(end)] for start, end in roads.get_topology()],
            "spawn points": [
                [pose(point), pose(at.transform), str(at.lane_type)]
                for point in roads.get_spawn_points()
                if (at := roads.get_waypoint(point.location)) is not None
            ],
            "waypoints": [[*key(at), at.s, *pose(at.transform)] for at in roads.generate_waypoints(1.0)],
        }
    )
    answers = []
    for road, lane, s in listen():
        at = roads.get_waypoint_xodr(road, lane, s)
        answers.append(
            at
            and [
                *pose(at.transform),
                at.lane_width,
                at.section_id,
                mark(at.left_lane_marking),
                mark(at.right_lane_marking),
            ]
        )
    say(answers)


# ---------------------------------------------------------------------- lane invasion


def cross(port: int) -> None:
    """Drive over markings as told ([pose, speed (m/s), steer, ticks]); reports poses, wheels and events."""
    stage = Stage(port)
    world = stage.world
    while order := listen():
        (x, y, z, yaw), speed, steer, ticks = order
        pose = carla.Transform(carla.Location(x, y, z), carla.Rotation(yaw=yaw))
        car = world.spawn_actor(stage.blueprint("vehicle.tesla.model3"), pose)
        events: queue.Queue[carla.LaneInvasionEvent] = queue.Queue()
        feeler = world.spawn_actor(
            stage.blueprint("sensor.other.lane_invasion"), carla.Transform(), attach_to=car
        )
        feeler.listen(events.put)
        frame = world.tick(PATIENCE)
        forward = pose.get_forward_vector()
        car.set_target_velocity(carla.Vector3D(speed * forward.x, speed * forward.y, 0.0))
        inverse = car.get_transform().get_inverse_matrix()
        wheels = [
            [
                sum(row[k] * part for k, part in enumerate((*(0.01 * v for v in place), 1.0)))
                for row in inverse[:3]
            ]
            for place in (_numbers(wheel.position) for wheel in car.get_physics_control().wheels)
        ]
        poses = []
        for tick in range(ticks + 1):
            at = car.get_transform()
            poses.append(
                [frame, *_numbers(at.location), at.rotation.pitch, at.rotation.yaw, at.rotation.roll]
            )
            if tick < ticks:
                car.apply_control(carla.VehicleControl(throttle=0.3, steer=steer))
                frame = world.tick(PATIENCE)
        time.sleep(0.1)  # events come on a thread of the client
        found = []
        while not events.empty():
            event = events.get()
            marks = [[str(mark.type), str(mark.color)] for mark in event.crossed_lane_markings]
            found.append([event.frame, marks])
        say({"poses": poses, "events": found, "wheels": wheels})
        feeler.stop()
        feeler.destroy()
        car.destroy()
        world.tick(PATIENCE)


# ---------------------------------------------------------------------- start, cost


def first_tick() -> None:
    """Read a port, connect and tick; report time.monotonic() after the tick."""
    say("ready")
    port = listen()
    client = carla.Client("127.0.0.1", port)
    client.set_timeout(PATIENCE)
    world = client.get_world()
    world.tick(PATIENCE)
    say(time.monotonic())


def bursts(port: int) -> None:
    """Tick a number of times with a standing ego and its camera; report the seconds that it took."""
    stage = Stage(port)
    car = stage.car()
    eye, pictures = stage.camera(car)
    say("ready")
    while ticks := listen():
        start = time.perf_counter()
        for _ in range(ticks):
            picture_of(pictures, stage.world.tick(PATIENCE))
        say(time.perf_counter() - start)
    eye.stop()


PROGRAMS: dict[str, Callable[..., None]] = {
    program.__name__: program
    for program in (
        *(repeat, spawn_and_destroy, tick_on, hold, come_next, stare, keep_ticking, survey, cross),
        *(first_tick, bursts, manage),
    )
}


def main() -> None:
    """Run the program that the command line names."""
    name, *arguments = sys.argv[1:]
    threading.current_thread().name = name
    PROGRAMS[name](*map(int, arguments))
    os._exit(0)


if __name__ == "__main__":
    main()
