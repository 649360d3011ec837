"""Draw the 2D boxes of the vehicles that a camera sees from their 3D bounding boxes."""

import argparse
import json
import queue

import carla
import numpy as np

WIDTH, HEIGHT, FOV = 640, 480, 90.0


def calibration():
    focal = WIDTH / (2.0 * np.tan(np.radians(FOV) / 2.0))
    return np.array([[focal, 0.0, WIDTH / 2.0], [0.0, focal, HEIGHT / 2.0], [0.0, 0.0, 1.0]])


def pixel(point, camera, world_to_camera):
    x, y, z, _ = world_to_camera @ (point.x, point.y, point.z, 1.0)
    u, v, w = camera @ (y, -z, x)  # Unreal's axes to those of pictures
    return u / w, v / w, x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    world = client.load_world("town")
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    actors = []
    found = []
    try:
        library = world.get_blueprint_library()
        town = world.get_map()
        for point in town.get_spawn_points():  # one with a straight street ahead
            way = town.get_waypoint(point.location)
            ahead = [way]
            while len(ahead) < 9 and ahead[-1].next(5.0):
                ahead.append(ahead[-1].next(5.0)[0])
            yaws = {round(w.transform.rotation.yaw) % 360 for w in ahead}
            if len(yaws) == 1 and not any(w.is_junction for w in ahead):
                break
        ego = world.spawn_actor(library.find("vehicle.lincoln.mkz_2020"), point)
        actors.append(ego)
        mount = carla.Transform(carla.Location(x=2.5, z=1.7))
        blueprint = library.find("sensor.camera.instance_segmentation")
        blueprint.set_attribute("image_size_x", str(WIDTH))
        blueprint.set_attribute("image_size_y", str(HEIGHT))
        blueprint.set_attribute("fov", str(FOV))
        eye = world.spawn_actor(blueprint, mount, attach_to=ego)
        actors.append(eye)
        pictures = queue.Queue()
        eye.listen(pictures.put)
        kinds = ("vehicle.audi.tt", "vehicle.mercedes.sprinter", "vehicle.yamaha.yzf", "vehicle.tesla.model3")
        for kind, waypoint, yaw in zip(kinds, ahead[3:], (0.0, 25.0, 90.0, 180.0), strict=False):
            # Only one at a time, so that nothing hides it.
            there = waypoint.transform
            there.location.z += 0.5
            there.rotation.yaw += yaw
            other = world.spawn_actor(library.find(kind), there)
            for _ in range(20):
                frame = world.tick()
            image = pictures.get(timeout=5.0)
            while image.frame < frame:
                image = pictures.get(timeout=5.0)
            data = np.frombuffer(image.raw_data, np.uint8).reshape(HEIGHT, WIDTH, 4)
            number = data[..., 1].astype(int) + 256 * data[..., 0].astype(int)
            rows, columns = np.nonzero((number == other.id % 65536) & (data[..., 2] >= 14))
            world_to_camera = np.array(eye.get_transform().get_inverse_matrix())
            corners = [
                pixel(corner, calibration(), world_to_camera)
                for corner in other.bounding_box.get_world_vertices(other.get_transform())
            ]
            left, right = min(u for u, _, _ in corners), max(u for u, _, _ in corners)
            top, bottom = min(v for _, v, _ in corners), max(v for _, v, _ in corners)
            seen = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) if len(rows) else (0,) * 4
            wide = max(0.0, min(right, seen[1]) - max(left, seen[0]))
            high = max(0.0, min(bottom, seen[3]) - max(top, seen[2]))
            area = (right - left) * (bottom - top) + (seen[1] - seen[0]) * (seen[3] - seen[2]) - wide * high
            found.append({"kind": kind, "pixels": len(rows), "iou": float(wide * high / area)})
            other.destroy()
    finally:
        for actor in reversed(actors):
            actor.destroy()
        settings.synchronous_mode = False
        world.apply_settings(settings)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
