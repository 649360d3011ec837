"""A CARLA program on minicarla: a car with a camera and a lidar drives for a few seconds.

    python examples/carla_program.py --seconds 5 --out picture.png

It uses CARLA's own Python API.  ``--address HOST:PORT`` runs it on a CARLA 0.9.16 server instead.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import carla
import cv2
import numpy as np


@contextlib.contextmanager
def simulator(map_name: str = "town") -> Iterator[tuple[str, int]]:
    """Start a minicarla; yields (host, port).  It ends with the block."""
    command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", map_name]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        ready = server.stdout.readline()  # "minicarla ... ready on 127.0.0.1:PORT ..."
        yield "127.0.0.1", int(ready.split(":")[1].split()[0])
    finally:
        server.terminate()
        server.wait()


def drive(client: carla.Client, seconds: float) -> tuple[np.ndarray, int, float]:
    """Drive straight on; returns the last picture (H, W, 4) BGRA, points of the last lidar sweep, metres."""
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
    world.apply_settings(settings)

    blueprints = world.get_blueprint_library()
    start = world.get_map().get_spawn_points()[0]
    car = world.spawn_actor(blueprints.find("vehicle.tesla.model3"), start)

    camera_blueprint = blueprints.find("sensor.camera.rgb")
    camera_blueprint.set_attribute("image_size_x", "640")
    camera_blueprint.set_attribute("image_size_y", "360")
    lidar_blueprint = blueprints.find("sensor.lidar.ray_cast")
    lidar_blueprint.set_attribute("rotation_frequency", "20")
    roof = carla.Transform(carla.Location(x=-5.5, z=3.0), carla.Rotation(pitch=-12.0))
    camera = world.spawn_actor(camera_blueprint, roof, attach_to=car)
    lidar = world.spawn_actor(lidar_blueprint, carla.Transform(carla.Location(z=2.4)), attach_to=car)
    pictures: queue.Queue[carla.Image] = queue.Queue()
    sweeps: queue.Queue[carla.LidarMeasurement] = queue.Queue()
    camera.listen(pictures.put)
    lidar.listen(sweeps.put)

    metres = 0.0
    try:
        for _ in range(round(seconds / 0.05)):
            car.apply_control(carla.VehicleControl(throttle=0.4))
            world.tick()
            image, sweep = pictures.get(timeout=10.0), sweeps.get(timeout=10.0)
            velocity = car.get_velocity()
            metres += 0.05 * velocity.length()
        picture = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4).copy()
        return picture, len(sweep), metres
    finally:
        for sensor in (camera, lidar):
            sensor.stop()
        # Not apply_batch_sync(..., True): right after two sensors were stopped, the client hung in it.
        # It probably waits with Python's lock held, which the stopped sensors' threads need.
        client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in (camera, lidar, car)], False)
        world.tick()
        settings.synchronous_mode = False
        world.apply_settings(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--address", help="HOST:PORT of a running server; without it minicarla is started")
    parser.add_argument("--seconds", type=float, default=5.0, help="simulated seconds to drive")
    parser.add_argument("--out", type=Path, default=Path("picture.png"), help="where the last picture goes")
    args = parser.parse_args()

    with contextlib.ExitStack() as stack:
        if args.address:
            host, port = args.address.rsplit(":", 1)
        else:
            host, port = stack.enter_context(simulator())
        client = carla.Client(host, int(port))
        client.set_timeout(20.0)
        picture, points, metres = drive(client, args.seconds)
        cv2.imwrite(str(args.out), picture[:, :, :3])
        print(f"drove {metres:.1f} m; the last lidar sweep has {points} points; picture: {args.out}")


if __name__ == "__main__":
    main()
