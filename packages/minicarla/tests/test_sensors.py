"""Sensors: their tables, what they measure, and that the real client reads their messages."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from types import SimpleNamespace

import msgpack
import numpy as np
import pytest

from minicarla.geometry import Pose, rotation_matrix
from minicarla.sensors import REGISTRY
from minicarla.sensors.absent import ABSENT
from minicarla.sensors.boxes import Boxes, rotation_matrices
from minicarla.sensors.gnss import DEFAULT_REFERENCE, geolocation, reference
from minicarla.sensors.tags import Tag
from minicarla.sensors.view import Fixture
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType

from .conftest import need_client
from .sensor_world import StandInMap, Static, View, add_car

HERE = Pose(0.0, 0.0, 1.0)
TOWN = StandInMap()


def sensor(name: str, seed: int = 0, **attributes: object):
    return REGISTRY[name]({key: str(value) for key, value in attributes.items()}, seed)


def empty(*statics: Static) -> View:
    return View(StandInMap(list(statics), town=False))


def image(body: bytes) -> np.ndarray:
    width, height, _ = sensor_data.IMAGE.unpack_from(body)
    return np.frombuffer(body, np.uint8, offset=sensor_data.IMAGE.size).reshape(height, width, 4)


def points(body: bytes, dtype: np.dtype) -> tuple[float, list[int], np.ndarray]:
    angle, channels = sensor_data.LIDAR_HEADER.unpack_from(body)
    counts = struct.unpack_from(f"<{channels}I", body, 8)
    return angle, list(counts), np.frombuffer(body, dtype, offset=8 + 4 * channels)


# ---------------------------------------------------------------------- tables


def test_every_sensor_has_its_row():
    assert {name: int(cls.wire_type) for name, cls in REGISTRY.items()} == {
        "sensor.other.collision": 0,
        "sensor.camera.depth": 1,
        "sensor.other.gnss": 4,
        "sensor.other.imu": 5,
        "sensor.other.lane_invasion": 6,
        "sensor.other.obstacle": 7,
        "sensor.other.radar": 9,
        "sensor.lidar.ray_cast_semantic": 10,
        "sensor.lidar.ray_cast": 11,
        "sensor.camera.rgb": 13,
        "sensor.camera.semantic_segmentation": 14,
        "sensor.camera.instance_segmentation": 15,
    }
    for cls in REGISTRY.values():
        assert isinstance(cls.wire_type, SensorType)
        names = [row.id for row in cls.attributes]
        assert len(names) == len(set(names)) and "role_name" in names
        for row in cls.attributes:
            assert not row.restrict or row.default in row.recommended


@pytest.mark.parametrize("text", ["", "many", "nan", "inf", "-5", "1e400"])
def test_attributes_that_are_no_numbers_do_no_harm(text):
    for name, cls in REGISTRY.items():
        values = {row.id: text for row in cls.attributes if row.id != "role_name"}
        device = cls({**values, "image_size_x": "40", "image_size_y": "30"})
        assert device.period >= 0.0
        for body in device.measure_all(View(TOWN), HERE, 0):
            assert isinstance(body, bytes), name


def test_cameras_obey_size_and_field_of_view():
    view = View(TOWN)
    for name in ("rgb", "depth", "semantic_segmentation", "instance_segmentation"):
        cls = "sensor.camera." + name
        body = sensor(cls, image_size_x=64, image_size_y=48, fov=70.0).measure(view, HERE, 0)
        assert sensor_data.IMAGE.unpack_from(body) == (64, 48, 70.0)
        assert len(body) == 12 + 64 * 48 * 4
        assert (image(body)[..., 3] == 255).all()


# ---------------------------------------------------------------------- cameras


def test_depth_semantic_and_instance_encodings():
    view = empty(Static("wall", (21.0, 0.0, 2.0), (1.0, 30.0, 2.0), tag=4))
    add_car(view.bodies, 0x1234, 10.0, 0.0)
    options = {"image_size_x": 100, "image_size_y": 100}
    # Straight at the car's rear (7.604 m away) and over it at the wall's face (20 m away).
    depth = image(sensor("sensor.camera.depth", **options).measure(view, HERE, 0)).astype(np.int64)
    metres = 1000.0 * (depth[..., 2] + 256 * depth[..., 1] + 65536 * depth[..., 0]) / (256**3 - 1)
    assert metres[53, 50] == pytest.approx(7.61, abs=0.03)
    assert metres[46, 10] == pytest.approx(20.0, abs=1e-3)
    assert metres[5, 50] == 1000.0
    semantic = image(sensor("sensor.camera.semantic_segmentation", **options).measure(view, HERE, 0))
    assert (semantic[..., :2] == 0).all()
    assert [int(semantic[r, c, 2]) for r, c in ((53, 50), (46, 10), (5, 50))] == [
        Tag.CAR,
        Tag.WALLS,
        Tag.SKY,
    ]
    assert Tag.ROADS in semantic[80:, :, 2]
    instance = image(sensor("sensor.camera.instance_segmentation", **options).measure(view, HERE, 0))
    assert (instance[..., 2] == semantic[..., 2]).all()
    assert instance[53, 50].tolist() == [0x12, 0x34, Tag.CAR, 255]
    assert instance[46, 10].tolist() == [0x80, 0x00, Tag.WALLS, 255]


def test_gamma_and_exposure_change_the_picture():
    view = View(TOWN)
    size = {"image_size_x": 60, "image_size_y": 60}
    plain = image(sensor("sensor.camera.rgb", **size).measure(view, HERE, 0)).astype(int)
    darker = image(sensor("sensor.camera.rgb", **size, exposure_compensation=-1.0).measure(view, HERE, 0))
    flat = image(sensor("sensor.camera.rgb", **size, gamma=1.0).measure(view, HERE, 0))
    np.testing.assert_allclose(darker[..., :3], plain[..., :3] * 2 ** (-1 / 2.2), atol=1)
    np.testing.assert_allclose(flat[..., :3], 255 * (plain[..., :3] / 255) ** 2.2, atol=1)
    off = sensor("sensor.camera.rgb", **size, enable_postprocess_effects="false", gamma=1.0)
    assert (image(off.measure(view, HERE, 0)) == plain).all()


def test_traffic_lights_and_props_are_seen_and_felt():
    view = empty()
    pose = Pose(12.0, 0.0, 0.0, 0.0, 180.0, 0.0)
    size = {"image_size_x": 120, "image_size_y": 120}
    eye = Pose(8.0, 0.0, 3.0)
    pictures = []
    for state in (0, 1, 2):
        view.fixtures = (Fixture(70, "traffic_light", pose, None, state),)
        pictures.append(image(sensor("sensor.camera.rgb", **size).measure(view, eye, 0)).astype(int))
        tags = image(sensor("sensor.camera.semantic_segmentation", **size).measure(view, eye, 0))
        assert (tags[..., 2] == Tag.TRAFFIC_LIGHT).sum() > 100
    red, _, green = pictures
    assert (red - green)[..., 2].max() > 150 and (green - red)[..., 1].max() > 100
    view.fixtures = (Fixture(71, "static.prop.trafficcone01", pose, (0.3, 0.3, 0.5), 0),)
    hit = msgpack.unpackb(sensor("sensor.other.obstacle", distance=20).measure(view, Pose(5, 0, 0.6), 0))
    assert hit[1][0] == 71 and hit[2] == pytest.approx(12.0 - 0.3 - 5.0 - 0.5)


# ---------------------------------------------------------------------- obstacle, collision


def obstacle(view: View, pose: Pose, parent: int = 0, **attributes: object):
    body = sensor("sensor.other.obstacle", **attributes).measure(view, pose, parent)
    return None if body is None else msgpack.unpackb(body)


def test_obstacle_distance_is_exact():
    view = empty()
    add_car(view.bodies, 1, 0.0, 0.0)
    add_car(view.bodies, 2, 20.0, 0.0)
    front = Pose(2.4, 0.0, 0.7)
    actor, other, distance = obstacle(view, front, 1, distance=30)
    assert (actor[0], other[0]) == (1, 2)
    assert distance == pytest.approx(20.0 - 2.396 - 2.4 - 0.5, abs=1e-6)
    assert obstacle(view, front, 1, distance=14.0) is None
    assert obstacle(view, front, 1, distance=14.8)[2] == distance
    assert obstacle(view, front, 1, distance=30, hit_radius=0.0)[2] == pytest.approx(distance + 0.5, abs=1e-6)
    # Turned round, and seen along a diagonal, the box is as exact.
    view.bodies.rotation[view.bodies.row(2), 1] = 90.0
    assert obstacle(view, front, 1, distance=30)[2] == pytest.approx(20.0 - 1.082 - 2.4 - 0.5, abs=1e-6)


@pytest.mark.parametrize("aside", [0.0, 1.2, 1.4, 1.57])
def test_the_ball_rolls_over_an_edge(aside):
    """Where the ball's side meets the box's edge, the distance is that of a rounded edge."""
    view = empty(Static("wall", (10.0, 0.0, 1.0), (2.0, 1.082, 1.0)))
    beyond = max(0.0, aside - 1.082)
    found = obstacle(view, Pose(0.0, aside, 1.0), distance=30)
    assert found[2] == pytest.approx(8.0 - math.sqrt(0.5**2 - beyond**2), abs=1e-5)
    assert obstacle(view, Pose(0.0, 1.6, 1.0), distance=30) is None


def test_only_dynamics_sees_through_walls():
    view = empty(Static("wall", (10.0, 0.0, 1.0), (0.5, 5.0, 1.0)))
    add_car(view.bodies, 4, 20.0, 0.0)
    found = obstacle(view, Pose(0.0, 0.0, 0.7), distance=30)
    assert found[1][2][1] == "static.wall" and found[2] == pytest.approx(9.0)
    found = obstacle(view, Pose(0.0, 0.0, 0.7), distance=30, only_dynamics="True")
    assert found[1][0] == 4
    assert obstacle(view, Pose(15.0, 0.0, 0.7, yaw=180.0), distance=30, only_dynamics="true") is None


def test_obstacle_touching_from_the_start_is_at_zero():
    view = empty(Static("wall", (0.8, 0.0, 1.0), (0.5, 5.0, 1.0)))
    assert obstacle(view, HERE, distance=5)[2] == 0.0


def test_collisions_name_both_sides_once():
    view = empty(Static("building", (10.0, 0.0, 1.0), (1.0, 1.0, 1.0)))
    for actor in (1, 2, 3):
        add_car(view.bodies, actor, 10.0 * actor, 0.0)
    contact = lambda a, b, static, *impulse: SimpleNamespace(a=a, b=b, static=static, impulse=impulse)  # noqa: E731
    view.contacts = [
        contact(1, 2, -1, 10.0, 0.0, 0.0),
        contact(1, 2, -1, 30.0, 1.0, 0.0),
        contact(3, 1, -1, 0.0, 20.0, 0.0),
        contact(1, -1, 0, 5.0, 0.0, 0.0),
        contact(2, 3, -1, 99.0, 0.0, 0.0),
    ]
    found = [msgpack.unpackb(b) for b in sensor("sensor.other.collision").measure_all(view, HERE, 1)]
    assert [(m[0][0], m[1][0], m[2]) for m in found] == [
        (1, 2, [30.0, 1.0, 0.0]),
        (1, 3, [0.0, -20.0, 0.0]),
        (1, 0, [5.0, 0.0, 0.0]),
    ]
    assert found[2][1][2][1] == "static.building"
    assert sensor("sensor.other.collision").measure(view, HERE, 9) is None


# ---------------------------------------------------------------------- rays

NO_NOISE = {"dropoff_general_rate": 0.0, "dropoff_intensity_limit": 1.0, "dropoff_zero_intensity": 0.0}


def test_lidar_ranges_are_exact():
    view = empty(Static("wall", (15.0, 2.0, 3.0), (1.0, 8.0, 3.0), 20.0))
    add_car(view.bodies, 8, 6.0, -1.0, 30.0)
    view.dt = 0.1
    lidar = sensor("sensor.lidar.ray_cast", range=60, channels=16, points_per_second=64000, **NO_NOISE)
    pose = Pose(0.2, 0.1, 2.0, 3.0, 10.0, -2.0)
    angle, counts, cloud = points(lidar.measure(view, pose, 0), sensor_data.LIDAR_POINT)
    assert len(counts) == 16 and sum(counts) == len(cloud) > 1500
    assert angle == pytest.approx(0.0)  # one whole turn in 0.1 s
    local = np.stack([cloud["x"], cloud["y"], cloud["z"]], axis=1).astype(float)
    world = local @ rotation_matrix(*pose[3:]).T + pose[:3]
    wall = rotation_matrix(0.0, 20.0, 0.0).T @ (world - (15.0, 2.0, 3.0)).T
    car = rotation_matrix(0.0, 30.0, 0.0).T @ (world - (6.0, -1.0, 0.744)).T
    outside = [
        np.abs(np.max(np.abs(p.T) - extent, axis=1))
        for p, extent in ((wall, (1.0, 8.0, 3.0)), (car, (2.396, 1.082, 0.744)))
    ]
    off = np.minimum.reduce([*outside, np.abs(world[:, 2])])
    assert off.max() < 1e-4  # every point lies on the ground, on the wall or on the car
    assert (outside[0] < 1e-4).sum() > 50 and (outside[1] < 1e-4).sum() > 50
    distance = np.sqrt((local**2).sum(1))
    np.testing.assert_allclose(cloud["intensity"], np.exp(-0.004 * distance), rtol=1e-5)
    # The lasers fan out from upper_fov down to lower_fov, and points come laser by laser.
    elevation = np.degrees(np.arcsin(local[:, 2] / distance))
    lasers = np.repeat(np.linspace(10.0, -30.0, 16), counts)
    np.testing.assert_allclose(elevation, lasers, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_many_rays_hit_what_they_hit_one_by_one(seed):
    """Dense lidars are cast wedge by wedge, each with the boxes that it may meet."""
    random = np.random.default_rng(seed)
    rays = random.normal(size=(5000, 3))
    rays[:4] = [[0, 0, 1], [0, 0, -1], [-1, 0, 0], [-1, -1e-9, 0]]  # up, down, and where the angle wraps
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    angles = random.uniform(-180.0, 180.0, (60, 3))
    angles[::2, ::2] = 0.0
    origin = np.array([3.0, -2.0, 1.0])
    boxes = Boxes(
        origin + random.normal(0.0, (12.0, 12.0, 4.0), (60, 3)),
        rotation_matrices(angles),
        random.uniform(0.1, 4.0, (60, 3)),
        *(np.zeros(60, np.int64), np.arange(60), np.zeros(60, np.uint8), np.zeros((60, 3))),
    )
    together = boxes.cast(origin.tolist(), rays, 25.0)
    apart = [boxes.cast(origin.tolist(), ray[None], 25.0) for ray in rays]
    for whole, parts in zip(together, zip(*apart, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert 0.2 < np.isfinite(together[0]).mean() < 0.99


def test_lidar_turns_on_from_tick_to_tick():
    view = empty()
    lidar = sensor("sensor.lidar.ray_cast", range=100, channels=4, points_per_second=8000, **NO_NOISE)
    angles = []
    for _ in range(5):
        angle, _, cloud = points(lidar.measure(view, HERE, 0), sensor_data.LIDAR_POINT)
        azimuth = np.degrees(np.arctan2(cloud["y"], cloud["x"]))
        assert len(np.unique(np.round(azimuth, 3))) == 100  # 8000 points/s over 4 lasers, for 0.05 s
        angles.append(round(math.degrees(angle)) % 360)
        view.time += view.dt
    assert angles == [180, 0, 180, 0, 180]


def test_semantic_lidar_names_what_it_hits():
    view = empty(Static("wall", (15.0, 0.0, 3.0), (1.0, 8.0, 3.0), 0.0, tag=4))
    add_car(view.bodies, 8, 6.0, 0.0)
    view.dt = 0.1
    lidar = sensor("sensor.lidar.ray_cast_semantic", range=60, points_per_second=64000, channels=32)
    _, _, cloud = points(lidar.measure(view, Pose(0, 0, 1.2), 0), sensor_data.SEMANTIC_LIDAR_POINT)
    assert set(cloud["object_tag"][cloud["object_idx"] == 8]) == {Tag.CAR}
    assert {Tag.WALLS, Tag.ROADS, Tag.CAR, Tag.SIDEWALKS} <= set(cloud["object_tag"])
    wall = cloud[cloud["object_tag"] == Tag.WALLS]
    np.testing.assert_allclose(wall["x"], 14.0, atol=1e-4)
    distance = np.sqrt(sum(wall[k].astype(float) ** 2 for k in "xyz"))
    np.testing.assert_allclose(wall["cos_inc_angle"], 14.0 / distance, rtol=1e-4)


def test_lidar_noise_is_seeded_and_has_carlas_shape():
    view = empty(Static("wall", (20.0, 0.0, 30.0), (1.0, 200.0, 30.0)))

    def cloud(**attributes: object) -> np.ndarray:
        options = {
            "range": 100,
            "points_per_second": 400_000,
            "upper_fov": 10,
            "lower_fov": 1,
            "horizontal_fov": 40,
        }
        lidar = sensor("sensor.lidar.ray_cast", **{**options, **NO_NOISE, **attributes})
        return points(lidar.measure(view, HERE, 0), sensor_data.LIDAR_POINT)[2]

    all_points = cloud()
    assert len(cloud(dropoff_general_rate=0.45)) == pytest.approx(0.55 * len(all_points), rel=0.05)
    spread = cloud(noise_stddev=0.2, noise_seed=3)
    distance = lambda c: np.sqrt(sum(c[k].astype(float) ** 2 for k in "xyz"))  # noqa: E731
    assert np.std(distance(spread) - distance(all_points)) == pytest.approx(0.2, rel=0.05)
    assert (spread == cloud(noise_stddev=0.2, noise_seed=3)).all()
    assert (spread != cloud(noise_stddev=0.2, noise_seed=4)).any()


def test_radar_measures_distance_and_closing_speed():
    view = empty()
    add_car(view.bodies, 1, 0.0, 0.0, velocity=(10.0, 0.0, 0.0))
    add_car(view.bodies, 2, 22.396, 0.0, velocity=(4.0, 0.0, 0.0))
    radar = sensor("sensor.other.radar", points_per_second=20_000, horizontal_fov=5, vertical_fov=3)
    body = radar.measure(view, Pose(2.4, 0.0, 0.7), 1)
    found = np.frombuffer(body, sensor_data.RADAR_DETECTION)
    car = found[found["depth"] < 25.0]
    assert len(car) > 200
    along = np.cos(car["azimuth"].astype(float)) * np.cos(car["altitude"].astype(float))
    np.testing.assert_allclose(car["depth"] * along, 17.6, atol=1e-4)
    np.testing.assert_allclose(car["velocity"], -6.0 * along, atol=1e-4)
    assert np.abs(found["azimuth"]).max() <= math.radians(2.5) + 1e-6
    again = sensor("sensor.other.radar", points_per_second=20_000, horizontal_fov=5, vertical_fov=3)
    assert again.measure(view, Pose(2.4, 0.0, 0.7), 1) == body
    view.bodies.clear()
    assert sensor("sensor.other.radar", seed=1).measure(view, Pose(0, 0, 50.0), 0) == b""


# ---------------------------------------------------------------------- inertial, globe


def imu(view: View, pose: Pose, parent: int, seed: int = 0, **attributes: object):
    return msgpack.unpackb(sensor("sensor.other.imu", seed, **attributes).measure(view, pose, parent))


def test_imu_at_rest_and_in_a_turn():
    view = empty()
    row = add_car(view.bodies, 1, 0.0, 0.0, 90.0)
    acceleration, rate, compass = imu(view, Pose(0, 0, 0.7, 0.0, 90.0, 0.0), 1)
    assert acceleration == pytest.approx([0.0, 0.0, 9.81]) and rate == pytest.approx([0.0, 0.0, 0.0])
    assert compass == pytest.approx(math.pi)  # +y is south
    assert imu(view, Pose(yaw=-90.0), 1)[2] == pytest.approx(0.0, abs=1e-9)
    assert imu(view, Pose(yaw=0.0), 1)[2] == pytest.approx(math.pi / 2)
    view.bodies.acceleration[row] = (0.0, 2.0, 0.0)  # ahead, as the car looks along +y
    view.bodies.angular_velocity[row] = (0.0, 0.0, 90.0)
    acceleration, rate, _ = imu(view, Pose(0, 0, 0.7, 0.0, 90.0, 0.0), 1)
    assert acceleration == pytest.approx([2.0, 0.0, 9.81]) and rate[2] == pytest.approx(math.pi / 2)
    # Two metres ahead of the car's origin the turn pulls inwards, w^2 r backwards.
    ahead = imu(view, Pose(0, 2.0, 0.7, 0.0, 90.0, 0.0), 1)[0]
    assert ahead == pytest.approx([2.0 - 2.0 * (math.pi / 2) ** 2, 0.0, 9.81])
    tilted = imu(view, Pose(0, 0, 0.7, 30.0, 90.0, 0.0), 1)[0]
    assert tilted[0] == pytest.approx(2.0 * math.cos(math.radians(30)) + 9.81 * 0.5)


def test_imu_noise():
    view = empty()
    add_car(view.bodies, 1, 0.0, 0.0)
    device = sensor("sensor.other.imu", noise_gyro_bias_z=0.5, noise_accel_stddev_x=0.3, noise_seed=5)
    rows = [msgpack.unpackb(device.measure(view, HERE, 1)) for _ in range(400)]
    assert np.mean([r[1][2] for r in rows]) == pytest.approx(0.5)
    assert np.std([r[0][0] for r in rows]) == pytest.approx(0.3, rel=0.15)
    assert np.std([r[0][1] for r in rows]) == 0.0


_GEO = """
import carla, json, sys
out = []
for text, spots in json.load(sys.stdin):
    world = carla.Map("m", text)
    for spot in spots:
        found = world.transform_to_geolocation(carla.Location(*spot))
        out.append([found.latitude, found.longitude, found.altitude])
print("RESULT" + json.dumps(out))
"""


def test_gnss_agrees_with_the_clients_map():
    from minicarla import maps
    from minicarla.maps.opendrive import parse

    need_client()
    text = maps.load("loop").opendrive
    start, end = text.index("<geoReference>"), text.index("</geoReference>")
    references = [
        "+proj=tmerc +lat_0=0 +lon_0=0 +k=1",
        "<![CDATA[+proj=tmerc +lat_0=49.0 +lon_0=8.0 +k=1 +x_0=0 +y_0=0 ]]>",
        "+proj=merc +lat_0=-3.35e1 +lon_0=-70.6",
        "+proj=utm +zone=32",
        "",
    ]
    spots = [(0.0, 0.0, 0.0), (1000.0, 0.0, 5.0), (-350.5, 2220.25, 1.0), (12.0, -4000.0, -2.0)]
    worlds = [text[: start + len("<geoReference>")] + r + text[end:] for r in references]
    worlds.append(
        text.replace("<header", "<!-- <geoReference>+lat_0=8 +lon_0=9</geoReference> --><header", 1)
    )
    done = subprocess.run(
        [sys.executable, "-c", _GEO],
        input=json.dumps([[world, spots] for world in worlds]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    expected = json.loads(done.stdout[done.stdout.index("RESULT") + 6 :])
    found = []
    for world in worlds:
        place = StandInMap(town=False)
        place.data = parse(world)
        found += [[*geolocation(reference(place), x, y), z] for x, y, z in spots]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "text", ["+lat_0=1e +lon_0=-", "+lat_0=--1 +lon_0=2", "+lat_0=1e999 +lon_0=2", "+lat_0=nan +lon_0=2"]
)
def test_a_reference_that_cannot_be_read_counts_as_none(text):
    place = StandInMap(town=False)
    place.data = SimpleNamespace(geo_reference=text)
    assert reference(place) in (DEFAULT_REFERENCE, (1.0, 2.0))
    assert np.isfinite(geolocation(reference(place), 10.0, 10.0)).all()


def test_gnss_noise():
    view = empty()
    device = sensor("sensor.other.gnss", noise_alt_bias=2.0, noise_lat_stddev=0.01, noise_seed=1)
    rows = np.array([msgpack.unpackb(device.measure(view, HERE, 0)) for _ in range(300)])
    assert np.std(rows[:, 0]) == pytest.approx(0.01, rel=0.15) and np.std(rows[:, 1]) == 0.0
    assert rows[:, 2] == pytest.approx(3.0)


def test_rotations_of_many_are_those_of_one():
    rng = np.random.default_rng(0)
    for angles in (rng.uniform(-180, 180, (20, 3)), rng.uniform(-180, 180, (20, 3)) * (0, 1, 0)):
        expected = [rotation_matrix(*row) for row in angles]
        np.testing.assert_allclose(rotation_matrices(angles), expected, atol=1e-12)


# ---------------------------------------------------------------------- the real client

_CLIENT = """
import json, queue
import numpy as np
world = synchronous()
library = world.get_blueprint_library()
spawn = world.get_map().get_spawn_points()
car = world.spawn_actor(library.find("vehicle.tesla.model3"), spawn[0])
forward = spawn[0].get_forward_vector()
place = carla.Transform(spawn[0].location + forward * 12, spawn[0].rotation)
ahead = world.spawn_actor(library.find("vehicle.tesla.model3"), place)
silent = ("sensor.other.lane_invasion", "sensor.other.collision")
names = [b.id for b in library.filter("sensor.*") if b.id not in silent]
absent = [name for name in names if world.try_spawn_actor(library.find(name), carla.Transform()) is None]
assert world.tick() and all(actor.destroy() for actor in world.get_actors().filter("sensor.*"))
names = [name for name in names if name not in absent]
boxes, sensors = {}, []
for name in names:
    blueprint = library.find(name)
    for key, value in dict(image_size_x=96, image_size_y=64, distance=30, range=60, points_per_second=20000,
                           dropoff_general_rate=0.0).items():
        if blueprint.has_attribute(key):
            blueprint.set_attribute(key, str(value))
    boxes[name] = queue.Queue()
    at = carla.Transform(carla.Location(x=2.5, z=0.9))
    sensors.append(world.spawn_actor(blueprint, at, attach_to=car))
    sensors[-1].listen(boxes[name].put)
for _ in range(40):
    frame = world.tick()
out = {"names": names, "absent": absent, "car": car.id, "ahead": ahead.id}
for name in names:
    data = message(boxes[name], frame)
    if "camera" in name:
        picture = np.frombuffer(data.raw_data, np.uint8).reshape(data.height, data.width, 4)
        out[name] = [data.width, data.height, data.fov, picture[34, 48].tolist()]
    elif "semantic" in name:
        hits = [p for p in data if p.object_idx == ahead.id]
        out[name] = [data.channels, len(data), len(hits), hits[0].object_tag, max(p.point.x for p in hits)]
    elif "lidar" in name:
        out[name] = [data.channels, len(data), min(p.intensity for p in data),
                     sum(data.get_point_count(k) for k in range(data.channels))]
    elif "radar" in name:
        out[name] = [len(data), min(d.depth for d in data), max(abs(d.velocity) for d in data)]
    elif "gnss" in name:
        geo = world.get_map().transform_to_geolocation(data.transform.location)
        out[name] = [data.latitude - geo.latitude, data.longitude - geo.longitude,
                     data.altitude - geo.altitude]
    elif "imu" in name:
        out[name] = [data.accelerometer.z, data.gyroscope.z, data.compass]
    elif "obstacle" in name:
        out[name] = [data.actor.id, data.other_actor.id, data.distance]
for s in sensors:
    s.stop()
    s.destroy()
print("RESULT" + json.dumps(out))
"""


def test_the_real_client_reads_every_message(serve):
    printed = serve(map="loop").client(_CLIENT)
    out = json.loads(printed[printed.index("RESULT") + 6 :])
    assert len(out["names"]) == len(REGISTRY) - 2  # all but collision and lane invasion
    assert sorted(out["absent"]) == sorted(ABSENT)
    size = [96, 64, 90.0]
    gap = 12.0 - 2.5 - 2.396  # to the car ahead, which stands still like the first
    assert out["sensor.camera.rgb"][:3] == size
    blue, green, red, _ = out["sensor.camera.depth"][3]
    assert 1000.0 * (red + 256 * green + 65536 * blue) / (256**3 - 1) == pytest.approx(gap, abs=0.25)
    assert out["sensor.camera.semantic_segmentation"][3] == [0, 0, Tag.CAR, 255]
    ahead = out["ahead"]
    assert out["sensor.camera.instance_segmentation"][3] == [ahead >> 8 & 255, ahead & 255, Tag.CAR, 255]
    channels, count, on_car, tag, farthest = out["sensor.lidar.ray_cast_semantic"]
    assert channels == 32 and count > on_car > 0 and tag == Tag.CAR
    assert farthest == pytest.approx(gap, abs=0.05)
    channels, count, weakest, by_channel = out["sensor.lidar.ray_cast"]
    assert channels == 32 and by_channel == count > 0 and 0.7 < weakest < 1.0
    count, nearest, fastest = out["sensor.other.radar"]
    assert count > 10 and nearest < 60.0 and fastest < 0.2
    assert out["sensor.other.gnss"] == pytest.approx([0.0, 0.0, 0.0], abs=1e-5)
    up, turning, compass = out["sensor.other.imu"]
    assert up == pytest.approx(9.81, abs=1.0) and abs(turning) < 0.1 and 0.0 <= compass < 2 * math.pi
    assert out["sensor.other.obstacle"][:2] == [out["car"], ahead]
    assert out["sensor.other.obstacle"][2] == pytest.approx(gap - 0.5, abs=0.05)
