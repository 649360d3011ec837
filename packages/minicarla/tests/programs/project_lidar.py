"""Project a lidar's points into a depth camera's picture, and compare the distances."""

import argparse
import json
from queue import Queue

import carla
import numpy as np

WIDTH, HEIGHT, FOV = 640, 360, 90.0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=10)
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    world = client.get_world()
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.1
    world.apply_settings(settings)
    actors = []
    try:
        library = world.get_blueprint_library()
        car = world.spawn_actor(library.find("vehicle.audi.etron"), world.get_map().get_spawn_points()[5])
        actors.append(car)
        camera_bp = library.find("sensor.camera.depth")
        camera_bp.set_attribute("image_size_x", str(WIDTH))
        camera_bp.set_attribute("image_size_y", str(HEIGHT))
        camera_bp.set_attribute("fov", str(FOV))
        lidar_bp = library.find("sensor.lidar.ray_cast")
        for name, value in (
            ("channels", 64),
            ("range", 80),
            ("points_per_second", 500000),
            ("rotation_frequency", 10),
            ("upper_fov", 15),
            ("lower_fov", -25),
            ("dropoff_general_rate", 0.0),
            ("dropoff_intensity_limit", 1.0),
            ("dropoff_zero_intensity", 0.0),
        ):
            lidar_bp.set_attribute(name, str(value))
        camera = world.spawn_actor(camera_bp, carla.Transform(carla.Location(x=1.6, z=1.9)), attach_to=car)
        lidar = world.spawn_actor(lidar_bp, carla.Transform(carla.Location(x=1.0, z=2.1)), attach_to=car)
        actors += [camera, lidar]
        images, clouds = Queue(), Queue()
        camera.listen(images.put)
        lidar.listen(clouds.put)
        car.apply_control(carla.VehicleControl(throttle=0.4))

        focal = WIDTH / (2.0 * np.tan(np.radians(FOV) / 2.0))
        errors, counts, frames = [], [], []
        for _ in range(args.frames):
            frame = world.tick()
            image, cloud = images.get(timeout=5.0), clouds.get(timeout=5.0)
            frames.append((frame, image.frame, cloud.frame))
            points = np.frombuffer(cloud.raw_data, np.float32).reshape(-1, 4)[:, :3]
            homogeneous = np.column_stack([points, np.ones(len(points))]).T
            in_world = np.array(cloud.transform.get_matrix()) @ homogeneous
            x, y, z, _ = np.array(image.transform.get_inverse_matrix()) @ in_world
            ahead = x > 0.5
            x, y, z = x[ahead], y[ahead], z[ahead]
            u = np.floor(WIDTH / 2 + focal * y / x).astype(int)
            v = np.floor(HEIGHT / 2 - focal * z / x).astype(int)
            inside = (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
            raw = np.frombuffer(image.raw_data, np.uint8).reshape(HEIGHT, WIDTH, 4).astype(float)
            depth = 1000.0 * (raw[..., 2] + 256 * raw[..., 1] + 65536 * raw[..., 0]) / (256**3 - 1)
            seen = depth[v[inside], u[inside]]
            errors.append(np.abs(seen - x[inside]) / x[inside])
            counts.append(int(inside.sum()))
        error = np.concatenate(errors)
        result = {
            "in_step": all(a == b == c for a, b, c in frames),
            "points": min(counts),
            "median": float(np.median(error)),
            "within_5_percent": float((error < 0.05).mean()),
        }
    finally:
        for actor in reversed(actors):
            actor.destroy()
        settings.synchronous_mode = False
        world.apply_settings(settings)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
