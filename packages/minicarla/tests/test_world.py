"""The world without a server: spawning, attaching, controls, episodes, determinism."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicarla import maps
from minicarla.geometry import Pose, compose, wrap_degrees
from minicarla.sensors.absent import ABSENT
from minicarla.wire import stream, structs
from minicarla.wire.snapshot import RECORD
from minicarla.world import blueprints
from minicarla.world.blueprints import AUTOPILOT_ROLE
from minicarla.world.calls import PROCEDURES, Call, answer
from minicarla.world.outlet import CarlaError
from minicarla.world.recording import Recording, RecordingError
from minicarla.world.spawner import SPAWN_COLLISION
from minicarla.world.world import World

MODEL3 = "vehicle.tesla.model3"


class Tape:
    """An outlet that keeps every message."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []

    def has_reader(self, stream_id: int) -> bool:
        return True

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        self.messages.append((stream_id, b"".join(parts)))

    def token(self, stream_id: int) -> bytes:
        return bytes(24)

    def records(self) -> np.ndarray:
        """Records of the last snapshot, by actor id."""
        body = [data for number, data in self.messages if number == stream.WORLD_STREAM][-1]
        return np.frombuffer(body[48 + 36 :], RECORD)


def make(map_name: str = "loop", **options: Any) -> World:
    return World(map_name, outlet=Tape(), synchronous=True, **options)


def car(world: World, point: int = 0, **attributes: str) -> Any:
    return world.spawn(blueprints.describe(MODEL3, **attributes), world.roadmap.spawn_points[point])


def row(world: World, actor: Any) -> Any:
    records = world.outlet.records()  # type: ignore[attr-defined]
    return records[records["id"] == actor.id][0]


def test_the_snapshot_holds_every_actor_as_it_is() -> None:
    world = make()
    vehicle = car(world)
    walker = world.spawn(blueprints.describe("walker.pedestrian.0001"), Pose(500.0, 500.0, 1.0))
    prop = world.spawn(blueprints.describe("static.prop.barrel"), Pose(1.0, 2.0, 3.0, yaw=40.0))
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(0.5, -0.25, 0.0))
    world.episode.walkers.apply(walker.id, structs.WalkerControl(structs.Vector3D(0.0, 2.0, 0.0), 1.5))
    for _ in range(20):
        world.tick()
    ids = world.outlet.records()["id"]  # type: ignore[attr-defined]
    assert sorted(ids) == sorted(world.actors)
    seen = row(world, vehicle)
    pose = world.actors.pose(vehicle)
    assert seen["location"].tolist() == pytest.approx(pose[:3])
    assert seen["rotation"].tolist() == pytest.approx(pose[3:])
    assert math.hypot(*seen["velocity"][:2]) > 1.0
    assert (seen["throttle"], seen["steer"], seen["brake"], seen["gear"]) == (0.5, -0.25, 0.0, 1)
    assert seen["state"] == 1
    walking = row(world, walker)
    assert walking["walk_direction"].tolist() == [0.0, 1.0, 0.0]
    assert walking["walk_speed"] == 1.5
    assert walking["velocity"][1] == pytest.approx(1.5)
    assert row(world, prop)["location"].tolist() == [1.0, 2.0, 3.0]
    assert row(world, prop)["rotation"].tolist() == [0.0, 40.0, 0.0]


def test_spawning_into_another_vehicle_fails_with_carlas_text() -> None:
    world = make()
    first = car(world)
    with pytest.raises(CarlaError, match=f"^{SPAWN_COLLISION}$"):
        car(world)
    fits_in = world.episode.spawner.room.fits
    pose = world.roadmap.spawn_points[0]
    length = 2.0 * first.box.extent.x
    for distance, fits in ((length - 0.1, False), (length + 0.1, True)):
        turn = math.radians(pose.yaw)
        place = pose._replace(x=pose.x + distance * math.cos(turn), y=pose.y + distance * math.sin(turn))
        assert fits_in(place, first.box.location, first.box.extent) is fits
    assert fits_in(pose._replace(z=pose.z + 3.0), first.box.location, first.box.extent)
    world.destroy(first.id)
    car(world)


def test_spawning_into_something_solid_fails() -> None:
    world = make("town")
    box = next(box for box in world.roadmap.statics if box.solid)
    with pytest.raises(CarlaError, match=SPAWN_COLLISION):
        world.spawn(blueprints.describe(MODEL3), Pose(box.centre[0], box.centre[1], 0.5))


@pytest.mark.parametrize(
    ("blueprint", "pose", "parent", "says"),
    [
        ("vehicle.no.such", Pose(), 0, "invalid actor description"),
        (MODEL3, Pose(x=math.nan), 0, "not finite"),
        (MODEL3, Pose(x=1e9), 0, "out of range"),
        ("sensor.camera.rgb", Pose(), 999, "parent actor not found"),
    ],
)
def test_what_cannot_be_spawned(blueprint: str, pose: Pose, parent: int, says: str) -> None:
    world = make()
    count = len(world.actors)
    with pytest.raises(CarlaError, match=says):
        world.spawn(structs.ActorDescription(0, blueprint, []), pose, parent)
    assert len(world.actors) == count


def test_descriptions_are_completed_and_fixed_attributes_stay() -> None:
    given = [structs.ActorAttributeValue("role_name", 4, "hero"), structs.ActorAttributeValue("x", 4, "y")]
    given.append(structs.ActorAttributeValue("number_of_wheels", 2, "7"))
    done = blueprints.complete(structs.ActorDescription(0, MODEL3, given))
    assert done is not None
    values = {entry.id: entry.value for entry in done.attributes}
    assert values["role_name"] == "hero"
    assert values["number_of_wheels"] == "4"
    assert values["base_type"] == "car"
    assert "x" not in values
    assert list(values) == [entry.id for entry in blueprints.find(MODEL3).attributes]  # type: ignore[union-attr]


def test_every_blueprint_can_be_spawned() -> None:
    world = make()
    for index, definition in enumerate(blueprints.definitions()):
        pose = Pose(x=5000.0 + 50.0 * index, z=2.0)
        description = structs.ActorDescription(definition.uid, definition.id, [])
        if definition.id in ABSENT:
            with pytest.raises(CarlaError, match=f"does not have the sensor {definition.id}"):
                world.spawn(description, pose)
        else:
            assert world.spawn(description, pose).type_id == definition.id
    world.tick()


def test_every_attribute_that_can_be_set_recommends_a_value() -> None:
    for definition in blueprints.definitions():
        for row in definition.attributes:
            assert not row.is_modifiable or row.value in row.recommended_values, (definition.id, row.id)


def test_a_vehicle_without_sticky_control_keeps_to_a_control_for_one_tick() -> None:
    world = make()
    point = world.roadmap.spawn_points[0]
    description = blueprints.describe(MODEL3, sticky_control="False")
    vehicle = world.spawn(description, point)
    row = world.bodies.row(vehicle.id)
    for _ in range(20):
        world.tick()  # it falls on its wheels
    for _ in range(3):  # told anew before each tick, it goes on
        world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(throttle=1.0, steer=0.1))
        world.tick()
        assert world.bodies.throttle[row] == 1.0
    pushed = float(np.hypot(*world.bodies.velocity[row, :2]))
    assert pushed > 0.3
    for _ in range(20):
        world.tick()
        assert world.bodies.throttle[row] == world.bodies.steer[row] == 0.0
    assert float(np.hypot(*world.bodies.velocity[row, :2])) < pushed


def test_the_library_has_what_people_use() -> None:
    ids = {definition.id for definition in blueprints.definitions()}
    assert ids >= {
        *(MODEL3, "vehicle.audi.tt", "vehicle.lincoln.mkz_2020", "vehicle.mercedes.sprinter"),
        *("vehicle.carlamotors.firetruck", "vehicle.yamaha.yzf", "vehicle.bh.crossbike"),
        *("walker.pedestrian.0001", "controller.ai.walker", "static.prop.trafficcone01"),
        *("sensor.camera.rgb", "sensor.other.collision", "sensor.other.lane_invasion"),
        "sensor.other.obstacle",
    }


def test_rigid_attachment_follows_in_the_same_tick() -> None:
    world = make()
    vehicle = car(world)
    offset = Pose(1.5, 0.5, 2.0, -10.0, 30.0, 5.0)
    camera = world.spawn(blueprints.describe("sensor.camera.rgb"), offset, vehicle.id)
    nested = world.spawn(blueprints.describe("sensor.other.collision"), offset, camera.id)
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(1.0, 0.3, 0.0))
    for _ in range(30):
        world.tick()
        expected = compose(world.actors.pose(vehicle), offset)
        assert world.actors.pose(camera) == pytest.approx(expected)
        assert world.actors.pose(nested) == pytest.approx(compose(expected, offset))
    assert row(world, camera)["location"].tolist() == pytest.approx(expected[:3], rel=1e-5)


def test_sensor_tick_spaces_the_measurements() -> None:
    world = make()
    vehicle = car(world)
    sensor = world.spawn(blueprints.describe("sensor.other.imu", sensor_tick="0.15"), Pose(), vehicle.id)
    frames = [world.tick() for _ in range(10)]
    tape: Any = world.outlet
    sent = [int.from_bytes(data[8:16], "little") for number, data in tape.messages if number == sensor.stream]
    assert sent == frames[::3]


def test_a_spring_arm_takes_the_yaw_alone_and_lags() -> None:
    world = make()
    vehicle = car(world)
    arm = structs.AttachmentType.SPRING_ARM
    camera = world.episode.spawner.spawn(
        blueprints.describe("sensor.camera.rgb"), Pose(x=-5.0, z=2.0), vehicle.id, arm
    )
    before = world.actors.pose(camera).yaw
    pose = world.actors.pose(vehicle)
    world.episode.mechanics.set_pose(vehicle.id, pose._replace(yaw=pose.yaw + 90.0))
    lags = []
    for _ in range(30):
        world.tick()
        lags.append(abs(wrap_degrees(world.actors.pose(camera).yaw - before - 90.0)))
    assert 40.0 < lags[0] < 60.0  # 8 per second over 0.05 s: 0.6 of the way are left
    assert lags == sorted(lags, reverse=True)
    assert lags[-1] < 0.1


def test_props_stand_in_the_way() -> None:
    world = make("town")
    vehicle = car(world)
    pose = world.actors.pose(vehicle)
    turn = math.radians(pose.yaw)
    place = Pose(pose.x + 12.0 * math.cos(turn), pose.y + 12.0 * math.sin(turn), 0.0, yaw=pose.yaw)
    prop = world.spawn(blueprints.describe("static.prop.container"), place)
    sensor = world.spawn(blueprints.describe("sensor.other.collision"), Pose(), vehicle.id)
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(throttle=0.6))
    for _ in range(120):
        world.tick()
    assert world.actors.pose(prop) == place
    assert math.dist(world.actors.pose(vehicle)[:2], place[:2]) > 2.3 + 0.9
    assert row(world, prop).tobytes()[65:] == bytes(54)
    tape: Any = world.outlet
    hits = [data for number, data in tape.messages if number == sensor.stream]
    assert hits and b"static.prop.container" in hits[0]


def test_what_is_attached_to_a_destroyed_actor_stays_where_it_is() -> None:
    world = make()
    vehicle = car(world)
    camera = world.spawn(blueprints.describe("sensor.camera.rgb"), Pose(z=2.0), vehicle.id)
    place = world.actors.pose(camera)
    assert world.destroy(vehicle.id)
    assert not world.destroy(vehicle.id)
    world.tick()
    assert world.actors.pose(camera) == place
    assert world.actors.publish(camera).parent_id == 0


def test_a_destroyed_actors_box_is_remembered() -> None:
    world = make()
    vehicle = car(world)
    world.destroy(vehicle.id)
    assert world.actors.bounding_box(vehicle.id) == vehicle.box
    world.episode.mechanics.set_simulate_physics(vehicle.id, False)  # asked by Traffic Managers, too
    world.load_named("", True)
    assert world.actors.bounding_box(vehicle.id) == vehicle.box
    with pytest.raises(CarlaError, match="not found"):
        world.actors.bounding_box(987654)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((math.nan, math.nan, math.nan), (0.0, 0.0, 0.0)),
        ((math.inf, -math.inf, 5.0), (1.0, -1.0, 1.0)),
        ((-3.0, 2.0, -1.0), (0.0, 1.0, 0.0)),
    ],
)
def test_controls_are_made_sane(given: tuple[float, float, float], taken: tuple[float, ...]) -> None:
    world = make()
    vehicle = car(world)
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(*given))
    bodies, index = world.bodies, world.bodies.row(vehicle.id)
    assert (bodies.throttle[index], bodies.steer[index], bodies.brake[index]) == taken
    for _ in range(5):
        world.tick()
    assert np.isfinite(bodies.position).all()


def test_nothing_that_is_no_number_reaches_the_bodies() -> None:
    world = make()
    vehicle = car(world)
    mechanics = world.episode.mechanics
    for change in (mechanics.set_velocity, mechanics.set_angular_velocity, mechanics.push, mechanics.twist):
        change(vehicle.id, (math.nan, math.inf, 0.0))
    with pytest.raises(CarlaError):
        mechanics.set_location(vehicle.id, structs.Vector3D(math.nan, 0.0, 0.0))
    world.tick()
    assert np.isfinite(world.bodies.position).all()
    assert np.isfinite(world.bodies.velocity).all()


def test_impulses_act_on_the_mass() -> None:
    world = make()
    vehicle = car(world)
    mass = float(world.bodies.mass[0])
    world.episode.mechanics.push(vehicle.id, (10.0 * mass, 0.0, 0.0))
    assert world.bodies.velocity[0, 0] == pytest.approx(10.0)


def test_constant_velocity_holds_and_ends() -> None:
    world = make()
    vehicle = car(world)
    world.episode.vehicles.hold_velocity(vehicle.id, (5.0, 0.0, 0.0))
    for _ in range(40):
        world.tick()
    assert np.linalg.norm(world.bodies.velocity[0]) == pytest.approx(5.0, abs=0.1)
    world.episode.vehicles.hold_velocity(vehicle.id, None)
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(brake=1.0))
    for _ in range(60):
        world.tick()
    assert np.linalg.norm(world.bodies.velocity[0]) < 0.1


@pytest.mark.slow
def test_the_ackermann_controller_reaches_and_holds_a_speed_and_stops() -> None:
    world = make("town")
    vehicle = car(world)
    world.episode.vehicles.apply_ackermann(vehicle.id, structs.VehicleAckermannControl(speed=8.0))
    speeds = []
    for _ in range(160):
        world.tick()
        speeds.append(float(np.linalg.norm(world.bodies.velocity[0])))
    assert max(speeds) < 10.0
    assert min(speeds[-60:]) > 7.0
    assert max(speeds[-60:]) < 9.0
    world.episode.vehicles.apply_ackermann(vehicle.id, structs.VehicleAckermannControl())
    for _ in range(200):
        world.tick()
    assert np.linalg.norm(world.bodies.velocity[0]) < 0.1
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(throttle=1.0))
    for _ in range(20):
        world.tick()
    assert np.linalg.norm(world.bodies.velocity[0]) > 1.0


def test_frames_rise_over_episodes_and_episodes_have_new_ids() -> None:
    world = make()
    vehicle = car(world)
    frames = [world.tick() for _ in range(3)]
    episode = world.episode.id
    world.load_named("town", reset_settings=False)
    assert world.roadmap.name == "town"
    assert world.episode.id == episode + 1
    assert world.settings.synchronous_mode
    assert vehicle.id not in world.actors
    assert not len(world.bodies)
    frames += [world.tick() for _ in range(3)]
    assert frames == list(range(frames[0], frames[0] + 6))
    world.load_named("", reset_settings=True)
    assert not world.settings.synchronous_mode
    assert car(world).id > vehicle.id


@pytest.mark.slow
def test_maps_that_clients_may_name() -> None:
    world = make()
    assert set(world.catalogue.names()) >= {"loop", "town", "grid"}
    with pytest.raises(CarlaError, match="map not found: nowhere"):
        world.load_named("nowhere", True)
    assert world.roadmap.name == "loop"
    with pytest.raises(CarlaError, match="cannot be used"):
        world.catalogue.offer("OpenDriveMap", "<OpenDRIVE/>")
    world.catalogue.offer("OpenDriveMap", maps.load("grid").opendrive)
    world.load_named("OpenDriveMap", True)
    assert world.roadmap.name == "OpenDriveMap"
    assert len(world.roadmap.spawn_points) == len(maps.load("grid").spawn_points)
    world.load_named("grid_Opt", True)  # CARLA's towns in layers have the roads of those without
    assert world.roadmap.name == "grid_Opt"
    assert world.roadmap.opendrive == maps.load("grid").opendrive


@pytest.mark.slow
def test_a_folder_of_maps(tmp_path: Path) -> None:
    (tmp_path / "Village.xodr").write_text(maps.load("grid").opendrive)
    (tmp_path / "Ruin.xodr").write_text("<OpenDRIVE/>")
    (tmp_path / "notes.txt").write_text("no map")
    world = World("loop", map_folder=str(tmp_path))
    assert set(world.catalogue.names()) == {*maps.available(), "Village", "Ruin"}
    for name in ("Village", "Village_Opt"):
        world.load_named(name, True)
        assert world.roadmap.name == name
        assert len(world.roadmap.spawn_points) == len(maps.load("grid").spawn_points)
    with pytest.raises(CarlaError, match="map Ruin cannot be used"):
        world.load_named("Ruin", True)
    with pytest.raises(CarlaError, match="map not found"):
        world.load_named(str(tmp_path / "Village"), True)
    assert world.roadmap.name == "Village_Opt"
    assert World("Village", map_folder=str(tmp_path)).roadmap.name == "Village"
    with pytest.raises(NotADirectoryError, match="no folder of maps"):
        World("loop", map_folder=str(tmp_path / "missing"))


def test_vehicles_of_that_role_are_driven_by_the_server() -> None:
    world = make("town")
    driven = car(world, 0, role_name=f"{AUTOPILOT_ROLE}:mine")
    idle = car(world, 40)
    start = {actor.id: world.actors.pose(actor) for actor in (driven, idle)}
    for _ in range(100):
        world.tick()
    moved = {key: math.dist(start[key][:2], world.actors.pose(world.actors[key])[:2]) for key in start}
    assert moved[driven.id] > 10.0
    assert moved[idle.id] < 0.5
    world.destroy(driven.id)
    world.tick()


_RUN = """
import hashlib, math, sys
from minicarla.geometry import Pose
from minicarla.wire import structs
from minicarla.world import blueprints
from minicarla.world.world import World
digest = hashlib.sha256()
class Tape:
    def has_reader(self, stream_id): return True
    def send(self, stream_id, *parts):
        for part in parts: digest.update(part)
    def token(self, stream_id): return bytes(24)
world = World("grid", seed=int(sys.argv[1]), npc=8, outlet=Tape(), synchronous=True)
for point in world.roadmap.spawn_points:
    try:
        car = world.spawn(blueprints.describe("vehicle.tesla.model3"), point)
        break
    except Exception:
        pass
for name in ("camera.rgb", "other.imu", "lidar.ray_cast", "other.collision", "other.radar"):
    size = {"image_size_x": "84", "image_size_y": "84"} if name == "camera.rgb" else {}
    world.spawn(blueprints.describe("sensor." + name, **size), Pose(x=1.5, z=2.0), car.id)
for step in range(60):
    world.episode.vehicles.apply(car.id, structs.VehicleControl(0.5, 0.2 * math.sin(step / 7), 0.0))
    world.tick()
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_two_processes_with_the_same_seed_give_the_same_bytes() -> None:
    """Snapshots and every sensor's messages, whatever the process's hash seed."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _RUN, seed],
            env={**os.environ, "PYTHONHASHSEED": hashing},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, hashing in (("1", "1"), ("1", "2"), ("2", "1"))
    ]
    digests = [child.communicate()[0] for child in children]
    assert digests[0] == digests[1] != digests[2]


# ---------------------------------------------------------------------- calls


class Nobody:
    seen = 0

    def announce(self, stream_id: int) -> None:
        pass

    def commit(self, spec: str) -> None:
        raise AssertionError(spec)


def call(world: World, name: str, *arguments: Any) -> Any:
    return answer(Call(world, Nobody()), name, lambda: arguments)


def test_every_procedure_withstands_wrong_arguments() -> None:
    """A wrapped answer, whatever comes, or a refusal in words where answers are not wrapped: no exception."""
    world = make()
    vehicle = car(world)
    junk: tuple[Any, ...] = (None, "x", -1, vehicle.id, [], [None], 1.5, True, b"x", [[[]]])
    for name in PROCEDURES:
        if name in ("minicarla.fault", "load_new_episode", "start_recorder", "replay_file"):
            continue
        for value in junk:
            for count in (0, 1, 2, 4):
                result = call(world, name, *(count * [value]))
                refused = PROCEDURES[name].bare and isinstance(result, str)
                assert refused or isinstance(result, tuple | list), (name, value)


def test_unknown_and_absent_functions_name_themselves() -> None:
    world = make()
    ((status, (text,)),) = call(world, "fly_to_the_moon")
    assert (status, text) == (0, "minicarla does not know the function fly_to_the_moon")
    ((status, (text,)),) = call(world, "get_bones_transform", 3)
    assert status == 0
    assert "get_bones_transform" in text


def spawn_command(
    world: World, point: int, after: list[Any], parent: Any = (False,), attachment: int = 144
) -> Any:
    pose = structs.transform(world.roadmap.spawn_points[point])
    return [[0, [[0, MODEL3, []], _plain(pose), list(parent), attachment, "", after]]]


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


def test_a_batch_answers_each_command_and_follows_up_on_the_new_actor() -> None:
    world = make()
    after = [[[2, [0, [0.75, 0.0, 0.0, False, False, False, 0]]]], [[16, [0, True, 8000]]]]
    spawn = spawn_command(world, 0, after)
    first, second, destroyed, unknown = call(
        world, "apply_batch", [spawn, spawn, [[1, [987654]]], [[99, []]]], True
    )
    actor_id = first[0][1]
    assert world.bodies.throttle[world.bodies.row(actor_id)] == 0.75
    assert second == ((0, (SPAWN_COLLISION,)),)
    assert destroyed[0][0] == unknown[0][0] == 0
    assert world.frame == 2
    assert call(world, "apply_batch", [[[1, [actor_id]]]], False) == [((1, actor_id),)]
    assert actor_id not in world.actors


def test_commands_nested_without_end_are_cut_off() -> None:
    world = make()
    command = spawn_command(world, 0, [])
    for _ in range(100):
        command = spawn_command(world, 0, [command])
    assert len(call(world, "apply_batch", [command], False)) == 1


def test_the_register_of_traffic_managers() -> None:
    world = make()
    assert call(world, "is_traffic_manager_running", 8000) == ((1, False),)
    assert call(world, "add_traffic_manager_running", ["10.0.0.1", 8000]) == ((1, True),)
    assert call(world, "add_traffic_manager_running", ["10.0.0.2", 8000]) == ((1, False),)
    assert call(world, "get_traffic_manager_running", 8000) == ((1, ("10.0.0.1", 8000)),)
    assert call(world, "destroy_traffic_manager", 8000) == ((1, True),)
    assert call(world, "is_traffic_manager_running", 8000) == ((1, False),)


def test_settings_that_are_no_time_are_refused() -> None:
    world = make()
    for delta in (math.nan, -1.0, math.inf, 1e9, 1e-300):
        with pytest.raises(CarlaError, match="fixed_delta_seconds"):
            world.configure(structs.EpisodeSettings(fixed_delta_seconds=delta))
    world.configure(structs.EpisodeSettings(fixed_delta_seconds=0.0))
    assert world.delta == 0.05


# ---------------------------------------------------------------------- recordings


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to stand for a full disk")
def test_a_full_disk_ends_a_recording_and_not_the_world(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.recorder.start(str(tmp_path / "drive.log"), world.episode)
    monkeypatch.setattr(world.recorder._writer, "_file", open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    frames = [world.tick() for _ in range(5)]
    assert frames == list(range(frames[0], frames[0] + 5))
    assert caplog.text.count("drive.log ends here: No space left on device") == 1
    monkeypatch.setattr("minicarla.world.recording.file.path_of", lambda name: Path("/dev/full"))
    with pytest.raises(RecordingError, match="cannot write /dev/full: No space left on device"):
        world.recorder.start("other.log", world.episode)
    world.tick()


def test_a_recording_goes_on_over_ticks_in_which_actors_come_and_go(tmp_path: Path) -> None:
    world = make()
    world.recorder.start(str(tmp_path / "short.log"), world.episode)
    first = car(world)
    world.tick()
    world.destroy(first.id)
    second = car(world, 3)
    world.tick()
    world.tick()
    world.recorder.stop()
    recording = Recording(str(tmp_path / "short.log"))
    assert [
        [actor.id for actor in tick.spawned if actor.blueprint == MODEL3] for tick in recording.ticks
    ] == [
        [first.id],
        [second.id],
        [],
    ]
    assert [tick.destroyed for tick in recording.ticks] == [[], [first.id], []]
    assert recording.duration == pytest.approx(0.1)
    (tmp_path / "torn.log").write_bytes((tmp_path / "short.log").read_bytes()[:-5])
    assert len(Recording(str(tmp_path / "torn.log")).ticks) == 2, "the last tick is cut off"
    (tmp_path / "other.log").write_bytes(b"minicarla recording 1\n")
    with pytest.raises(RecordingError, match="another version"):
        Recording(str(tmp_path / "other.log"))


# ---------------------------------------------------------------------- props and walkers


def test_the_props_are_carlas_and_have_their_sizes() -> None:
    ids = {definition.id for definition in blueprints.definitions()}
    asked_for = "advertisement busstoplb dirtdebris01 dirtdebris02 foodcart haybalelb warningaccident"
    assert ids >= {f"static.prop.{name}" for name in asked_for.split()}
    assert len([name for name in ids if name.startswith("static.prop.")]) == 98
    assert len([name for name in ids if name.startswith("walker.pedestrian.")]) == 52
    world = make()
    bus_stop = world.spawn(blueprints.describe("static.prop.busstoplb"), Pose(x=900.0))
    assert [2.0 * half for half in bus_stop.box.extent] == pytest.approx([1.89, 3.88, 2.74])
    assert bus_stop.attributes["size"] == "big"


@pytest.mark.parametrize(("prop", "passes"), [("dirtdebris01", True), ("streetbarrier", False)])
def test_a_car_drives_over_what_is_lower_than_its_floor(prop: str, passes: bool) -> None:
    world = make("town")
    vehicle = car(world)
    pose = world.actors.pose(vehicle)
    turn = math.radians(pose.yaw)
    place = Pose(pose.x + 15.0 * math.cos(turn), pose.y + 15.0 * math.sin(turn), 0.0, yaw=pose.yaw)
    world.spawn(blueprints.describe(f"static.prop.{prop}"), place)
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl(throttle=0.6))
    for _ in range(100):
        world.tick()
    driven = math.dist(world.actors.pose(vehicle)[:2], pose[:2])
    assert (driven > 20.0) is passes


def test_attributes_without_effect_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    world = make()
    for _ in range(2):
        world.spawn(blueprints.describe("sensor.camera.rgb", fstop="2.8", fov="60", lens_k="-1"), Pose())
    world.spawn(blueprints.describe("sensor.camera.depth", lens_k="0.5", image_size_x="90"), Pose())
    world.spawn(blueprints.describe("sensor.camera.rgb", gamma="1.0"), Pose())
    assert [record.getMessage() for record in caplog.records] == [
        "sensor.camera.rgb: these attributes have no effect: fstop",
        "sensor.camera.depth: these attributes have no effect: lens_k",
    ]
