"""Milliseconds of this thread's processor time that a measurement takes, by sensor and size.

python -m benchmarks.render [--map town] [--cars 20] [--json FILE]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks import common
from minicarla import maps
from minicarla.bodies import Bodies
from minicarla.geometry import Pose, compose
from minicarla.physics import BodyContact
from minicarla.sensors import REGISTRY
from minicarla.sensors.view import Fixture, WorldView
from minicarla.wire.structs import ActorDescription, ActorRecord, BoundingBox, WeatherParameters


class View:
    """A world that stands still."""

    frame, dt, time, imu_gravity = 1, 0.05, 0.05, 9.81
    contacts: Sequence[BodyContact] = ()
    fixtures: tuple[Fixture, ...] = ()

    def actor_struct(self, actor_id: int) -> ActorRecord:
        return ActorRecord(actor_id, 0, ActorDescription(0, "vehicle", []), BoundingBox(), b"", b"")

    def static_actor_struct(self, kind: str) -> ActorRecord:
        return ActorRecord(0, 0, ActorDescription(0, f"static.{kind}", []), BoundingBox(), b"", b"")

    def __init__(self, name: str, cars: int) -> None:
        self.roadmap = maps.load(name)
        self.weather = WeatherParameters(sun_altitude_angle=55.0)
        self.bodies = Bodies()
        spots = self.roadmap.spawn_points
        chosen = np.random.default_rng(0).permutation(len(spots))[:cars]
        for number, spot in enumerate(spots[k] for k in chosen):
            self.bodies.add(
                number + 1,
                position=(spot.x, spot.y, 0.0),
                rotation=(0.0, spot.yaw, 0.0),
                extent=(2.396, 1.082, 0.744),
                centre=(0.0, 0.0, 0.744),
            )


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--map", default="town")
    parser.add_argument("--cars", type=int, default=20)
    options = parser.parse_args()
    view: WorldView = View(options.map, options.cars)
    lidar = {"range": "50", "points_per_second": "56000"}
    cases = [
        ("sensor.camera.rgb", {"image_size_x": "84", "image_size_y": "84"}),
        ("sensor.camera.rgb", {"image_size_x": "800", "image_size_y": "600"}),
        ("sensor.camera.depth", {"image_size_x": "84", "image_size_y": "84"}),
        ("sensor.camera.depth", {"image_size_x": "800", "image_size_y": "600"}),
        ("sensor.camera.semantic_segmentation", {"image_size_x": "800", "image_size_y": "600"}),
        ("sensor.camera.instance_segmentation", {"image_size_x": "800", "image_size_y": "600"}),
        ("sensor.lidar.ray_cast", lidar),
        ("sensor.other.radar", {}),
        ("sensor.other.obstacle", {"distance": "50"}),
    ]
    print(f"map {options.map}, {options.cars} cars\n{'p10':>8} {'median':>8}  ms")
    rows = []
    for name, attributes in cases:
        device = REGISTRY[name](attributes, 0)
        spent = []
        for start in view.roadmap.spawn_points[:: len(view.roadmap.spawn_points) // 8]:
            for k in range(24):  # drive on, as a car does
                pose = compose(
                    Pose(start.x, start.y, 0.0, 0.0, start.yaw, 0.0),
                    Pose(0.3 * k, 0.0, 1.5, -5.0, 0.0, 0.0),
                )
                begin = time.thread_time()
                device.measure_all(view, pose, 0)
                spent.append(time.thread_time() - begin)
        low, median = np.percentile(spent, [10, 50]) * 1e3
        size = attributes.get("image_size_x", "")
        rows.append({"sensor": name, "width": size, "p10_ms": low, "median_ms": median})
        print(f"{low:8.3f} {median:8.3f}  {name} {size}")
    common.write_json(options.json, {"map": options.map, "cars": options.cars, "rows": rows})


if __name__ == "__main__":
    main()
