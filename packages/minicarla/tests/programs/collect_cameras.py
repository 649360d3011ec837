"""Collect synchronised colour, depth and segmentation pictures from a moving car."""

import argparse
import json
import queue
from pathlib import Path

import carla
import numpy as np

WIDTH, HEIGHT, FOV = 320, 240, 90.0
ROAD = 1


def array(image):
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)


def metres(image):
    blue, green, red = (array(image)[..., k].astype(np.float64) for k in range(3))
    return 1000.0 * (red + 256.0 * green + 65536.0 * blue) / (256.0**3 - 1.0)


def next_of(box, frame):
    while True:
        data = box.get(timeout=5.0)
        if data.frame == frame:
            return data


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=2000)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("_out"))
    args = parser.parse_args()
    client = carla.Client("localhost", args.port)
    client.set_timeout(10.0)
    world = client.get_world()
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode = True
    settings.fixed_delta_seconds = 0.05
    world.apply_settings(settings)
    actors = []
    try:
        library = world.get_blueprint_library()
        start = world.get_map().get_spawn_points()[0]
        car = world.spawn_actor(library.filter("model3")[0], start)
        actors.append(car)
        mount = carla.Transform(carla.Location(x=1.5, z=2.0))
        boxes = {}
        for kind in ("rgb", "depth", "semantic_segmentation"):
            blueprint = library.find(f"sensor.camera.{kind}")
            blueprint.set_attribute("image_size_x", str(WIDTH))
            blueprint.set_attribute("image_size_y", str(HEIGHT))
            blueprint.set_attribute("fov", str(FOV))
            camera = world.spawn_actor(blueprint, mount, attach_to=car)
            actors.append(camera)
            boxes[kind] = queue.Queue()
            camera.listen(boxes[kind].put)
        for _ in range(20):
            world.tick()
        car.enable_constant_velocity(carla.Vector3D(x=5.0))

        focal = WIDTH / (2.0 * np.tan(np.radians(FOV) / 2.0))
        down = (np.arange(HEIGHT) + 0.5 - HEIGHT / 2.0) / focal
        errors, shares, bright, seen = [], [], [], []
        for number in range(args.frames):
            frame = world.tick()
            data = {kind: next_of(box, frame) for kind, box in boxes.items()}
            seen.append([d.frame for d in data.values()])
            tags = array(data["semantic_segmentation"])[..., 2]
            depth = metres(data["depth"])
            road = tags == ROAD
            road &= (down > 0.15)[:, None]
            height = data["depth"].transform.location.z  # the street lies at 0
            expected = np.broadcast_to(height / np.maximum(down, 1e-9)[:, None], depth.shape)
            errors.append(float(np.median(np.abs(depth - expected)[road] / expected[road])))
            shares.append(float(road.mean()))
            bright.append(float(array(data["rgb"])[..., :3].mean()))
            if number % 20 == 0:
                data["rgb"].save_to_disk(str(args.out / f"{frame:06d}_rgb.png"))
                data["semantic_segmentation"].save_to_disk(
                    str(args.out / f"{frame:06d}_tags.png"), carla.ColorConverter.CityScapesPalette
                )
        moved = car.get_location().distance(start.location)
        result = {
            "same_frame": all(len(set(frames)) == 1 for frames in seen),
            "consecutive": [frames[0] - seen[0][0] for frames in seen] == list(range(args.frames)),
            "depth_error": max(errors),
            "road_share": min(shares),
            "brightness": [min(bright), max(bright)],
            "moved": moved,
            "files": sorted(path.name.split("_")[1] for path in args.out.glob("*.png")),
        }
    finally:
        for actor in reversed(actors):
            if hasattr(actor, "stop"):
                actor.stop()
            actor.destroy()
        world.apply_settings(before)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
