"""Recordings: what a replay brings back, what it leaves as it was, and which files are read at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicarla.geometry import Pose
from minicarla.wire import structs
from minicarla.world import blueprints
from minicarla.world.outlet import NoReaders
from minicarla.world.recording import Recording, RecordingError
from minicarla.world.recording import file as file_module
from minicarla.world.recording.file import MAGIC
from minicarla.world.world import World

from .conftest import Running

MODEL3 = "vehicle.tesla.model3"
AWAY = Pose(600.0, 600.0, 1.0)


def make(map_name: str = "loop") -> World:
    return World(map_name, outlet=NoReaders(), synchronous=True)


def car(world: World, point: int = 0, **attributes: str) -> Any:
    return world.spawn(blueprints.describe(MODEL3, **attributes), world.roadmap.spawn_points[point])


def state(world: World, actor: Any, *columns: str) -> list[Any]:
    bodies = world.bodies
    return [getattr(bodies, column)[bodies.row(actor.id)].tolist() for column in columns]


def replay(world: World, file: Path, *, sensors: bool = False) -> None:
    world.replay(str(file), 0.0, 0.0, 0, sensors, Pose())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "drive.log"


def test_lights_switch_as_they_were_recorded(serve: Any, file: Path) -> None:
    """As in CARLA: state, frozen, elapsed time.  The map is loaded anew, so that the lights have new ids."""
    running: Running = serve(map="grid", synchronous=True)
    running.client(
        f"""
world = synchronous()
def lights():
    found = sorted(world.get_actors().filter("traffic.traffic_light"), key=lambda light: light.id)
    return [(str(light.state), light.is_frozen(), round(light.get_elapsed_time(), 3)) for light in found]
def hurry():
    for light in world.get_actors().filter("traffic.traffic_light"):
        light.set_green_time(0.3); light.set_yellow_time(0.2); light.set_red_time(0.1)
world.reset_all_traffic_lights()
hurry()
client.start_recorder({str(file)!r})
recorded = []
for tick in range(30):
    if tick == 24:
        light = world.get_actors().filter("traffic.traffic_light")[0]
        light.set_state(carla.TrafficLightState.Off)
        light.freeze(True)
    world.tick()
    recorded.append(lights())
client.stop_recorder()
assert len({{tuple(now) for now in recorded}}) > 6
assert any("Off" in state and frozen for state, frozen, _ in recorded[-1])
world = client.reload_world(False)
for _ in range(7):
    world.tick()
client.replay_file({str(file)!r}, 0, 0, 0)
played = []
for _ in range(29):
    world.tick()
    played.append(lights())
assert played == recorded[1:], (played, recorded)
hurry()
world.tick()  # the replay has ended
world.freeze_all_traffic_lights(False)
after = []
for _ in range(30):
    world.tick()
    after.append(lights())
assert len({{tuple(now) for now in after}}) > 6, "they must switch by themselves again"
"""
    )


def test_the_whole_control_is_replayed_and_taken_away_at_the_end(file: Path) -> None:
    world = make()
    vehicle = car(world)
    walker = world.spawn(blueprints.describe("walker.pedestrian.0001"), AWAY)
    barrel = world.spawn(blueprints.describe("static.prop.barrel"), AWAY._replace(x=700.0))
    world.episode.walkers.apply(walker.id, structs.WalkerControl(structs.Vector3D(0.0, 1.0, 0.0), 1.25))
    world.recorder.start(str(file), world.episode)
    world.episode.vehicles.apply(
        vehicle.id, structs.VehicleControl(0.25, 0.5, 0.75, True, manual_gear_shift=True, gear=-1)
    )
    for _ in range(3):
        world.tick()
    world.recorder.stop()
    world.episode.vehicles.apply(vehicle.id, structs.VehicleControl())
    world.episode.walkers.apply(walker.id, structs.WalkerControl(speed=0.0))
    world.tick()

    replay(world, file)
    world.tick()
    pedals = ("throttle", "steer", "brake", "hand_brake", "reverse", "manual_gear", "gear")
    assert state(world, vehicle, *pedals) == [0.25, 0.5, 0.75, True, True, False, -1]
    assert state(world, walker, "walk_speed") == [1.25]
    world.recorder.stop_replay(keep_actors=True)
    assert state(world, vehicle, *pedals[:-1]) == [0.0, 0.0, 0.0, False, False, False]
    assert state(world, walker, "walk_speed") == [0.0]
    still = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert state(world, walker, "velocity", "angular_velocity") == still
    moved_by_physics = [state(world, actor, "simulate_physics")[0] for actor in (vehicle, walker, barrel)]
    assert moved_by_physics == [True, True, False], "props never move"


@pytest.mark.parametrize("there", [True, False])
def test_a_hero_that_is_ignored_is_left_alone(file: Path, there: bool) -> None:
    """As in CARLA: it is neither moved, nor stopped at the end, nor destroyed or spawned."""
    world = make()
    hero, other = car(world, role_name="hero"), car(world, 5)
    world.recorder.start(str(file), world.episode)
    for _ in range(3):
        world.tick()
    if not there:
        world.destroy(hero.id)
    world.tick()
    world.recorder.stop()
    if there:
        world.episode.vehicles.apply(hero.id, structs.VehicleControl(throttle=0.5, steer=0.1))
        world.episode.mechanics.set_velocity(hero.id, (3.0, 0.0, 0.0))
    world.recorder.options.ignore_hero = True
    replay(world, file)
    for _ in range(5):
        world.tick()
        assert len([actor for actor in world.actors.values() if actor.type_id == MODEL3]) == 1 + there
    assert not world.recorder.replaying, "it has ended"
    assert state(world, other, "velocity")[0][:2] == [0.0, 0.0]
    if there:
        assert state(world, hero, "throttle", "steer") == [0.5, 0.1]
        assert np.linalg.norm(state(world, hero, "velocity")[0]) > 1.0


def test_an_actor_that_cannot_be_created_does_not_stop_the_world(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = make()
    vehicle = car(world)
    world.recorder.start(str(file), world.episode)
    world.tick()
    for kind in ("sensor.other.imu", "sensor.other.gnss"):
        world.spawn(blueprints.describe(kind), Pose(), vehicle.id)
        world.tick()
    late = car(world, 3)
    world.tick()
    world.recorder.stop()
    for actor in [*world.actors.sensors, vehicle, late]:
        world.destroy(actor.id)

    replay(world, file, sensors=True)
    copy = next(actor for actor in world.actors.values() if actor.type_id == MODEL3)
    world.destroy(copy.id)  # by the user: the recorded sensors have nothing to be attached to
    frames = [world.tick() for _ in range(5)]
    assert frames == list(range(frames[0], frames[0] + 5))
    lines = [record.getMessage() for record in caplog.records]
    reason = "could not be created: unable to attach actor: parent actor not found"
    assert lines == [f"sensor.other.{kind} of the replay {reason}" for kind in ("imu", "gnss")]
    assert not world.actors.sensors
    assert [actor.type_id for actor in world.actors.values() if not actor.type_id.startswith("spec")] == [
        MODEL3
    ]


# ---------------------------------------------------------------------- files


def test_only_regular_files_are_read(serve: Any, tmp_path: Path) -> None:
    """A pipe would stop the server for ever, and /dev/zero would fill its memory."""
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    with (tmp_path / "big.log").open("wb") as big:
        big.truncate(1 << 34)  # a sparse one
    wire = serve(synchronous=True).wire()
    for path in ("/dev/zero", *(str(tmp_path / f"{name}.log") for name in ("pipe", "folder", "big"))):
        answers = [
            wire.call("show_recorder_file_info", path, True),
            wire.call("show_recorder_collisions", path, ord("a"), ord("a")),
            wire.call("show_recorder_actors_blocked", path, 1.0, 1.0),
            wire.call("replay_file", path, 0.0, 0.0, 0),
        ]
        assert answers == 4 * ["File is not a CARLA recorder\n"], path
    for name in ("pipe", "folder", "big"):
        with pytest.raises(RuntimeError, match="exists already and is not a recording"):
            wire.call("start_recorder", str(tmp_path / f"{name}.log"))
    assert wire.call("version") == "0.9.16"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("~nobody_of_this_name/x.log", "home directory"),
        ("/tmp/a\0b.log", "null"),
        (f"/tmp/{300 * 'a'}.log", "name too long"),
        ("/etc/hostname/x.log", "Not a directory"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(serve: Any, name: str, reason: str) -> None:
    wire = serve(synchronous=True).wire()
    for call, *arguments in (
        ("start_recorder",),
        ("show_recorder_file_info", True),
        ("replay_file", 0.0, 0.0, 0),
    ):
        with pytest.raises(RuntimeError, match=f"(?i){reason}"):
            wire.call(call, name, *arguments)


def test_a_recording_that_is_too_large_is_refused_and_not_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.recorder.start(str(file), world.episode)
    for _ in range(3):
        world.tick()
    world.recorder.stop()
    assert len(Recording(str(file)).ticks) == 3
    monkeypatch.setattr(file_module, "MAX_BYTES", file.stat().st_size - 1)
    with pytest.raises(RecordingError, match="is larger than"):
        Recording(str(file))
    file.write_bytes(MAGIC)
    with pytest.raises(RecordingError, match="is damaged"):
        Recording(str(file))
