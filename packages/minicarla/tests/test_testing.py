"""``minicarla.testing``: what people who test CARLA code in pytest are promised."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minicarla.testing import ServerError, ServerProcess, plugin

from .conftest import Wire, need_client, until

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for tests, in an environment in which minicarla is installed with its entry point."""
    need_client()
    installed = tmp_path / "installed" / "minicarla_plugin-1.dist-info"
    installed.mkdir(parents=True)
    section = re.search(r"^\[project\.entry-points\.pytest11\]\n((?:.+\n)+)", PROJECT.read_text(), re.M)
    assert section is not None
    lines = section[1].replace('"', "")
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{lines}")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: minicarla-plugin\nVersion: 1\n")
    folders = [str(installed.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    tests = tmp_path / "tests"
    tests.mkdir()
    return tests


def pytest_in(folder: Path, text: str, *options: str, on: str = "loop") -> tuple[int, str]:
    """Status and output of pytest with a file of tests; ``on``: the map that it is given, "" for none."""
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-rA", "-p", "no:cacheprovider"]
    map_option = ["--carla-map", on] if on else []
    done = subprocess.run(
        [*command, *map_option, *options, "test_it.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120.0,
    )
    return done.returncode, done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    """Name of each test -> PASSED, FAILED, ..., ERROR where only its end failed."""
    return {name: word for word, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", output, re.M)}


CLEAN = """
import os
import queue
import carla
import pytest

def car_of(world):
    blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
    return world.spawn_actor(blueprint, world.get_map().get_spawn_points()[0])

def test_one_line(carla_world):
    car = car_of(carla_world)
    car.apply_control(carla.VehicleControl(throttle=1.0))
    for _ in range(40):
        carla_world.tick()
    assert car.get_velocity().length() > 3.0

def test_it_leaves_things_behind(carla_world, carla_client):
    car = car_of(carla_world)
    blueprints = carla_world.get_blueprint_library()
    camera = carla_world.spawn_actor(blueprints.find("sensor.camera.rgb"), carla.Transform(), attach_to=car)
    pictures = queue.Queue()
    camera.listen(pictures.put)
    frame = carla_world.tick()
    assert pictures.get(timeout=20.0).frame == frame
    place = carla_world.get_random_location_from_navigation()
    walker = carla_world.spawn_actor(blueprints.filter("walker.*")[0], carla.Transform(place))
    brain = carla_world.spawn_actor(blueprints.find("controller.ai.walker"), carla.Transform(), walker)
    carla_world.tick()
    brain.start()
    carla_world.freeze_all_traffic_lights(True)
    carla_world.set_weather(carla.WeatherParameters.HardRainNight)
    settings = carla_world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = False, None
    carla_world.apply_settings(settings)
    assert not walker

def test_nothing_is_left(carla_world):
    kinds = {actor.type_id.split(".")[0] for actor in carla_world.get_actors()}
    assert kinds <= {"spectator", "traffic"}
    assert carla_world.get_weather() != carla.WeatherParameters.HardRainNight
    settings = carla_world.get_settings()
    assert settings.synchronous_mode and settings.fixed_delta_seconds == pytest.approx(0.05)
    lights = carla_world.get_actors().filter("traffic.traffic_light")
    assert not any(light.is_frozen() for light in lights)
    assert carla_world.get_map().name.endswith("loop")

@pytest.mark.carla(map="grid", delta=0.1)
def test_another_map(carla_world):
    assert carla_world.get_map().name.endswith("grid")
    before = carla_world.get_snapshot().timestamp.elapsed_seconds
    carla_world.tick()
    assert carla_world.get_snapshot().timestamp.elapsed_seconds == pytest.approx(before + 0.1)

def test_the_map_is_the_usual_one_again(carla_world, carla_traffic_manager):
    assert carla_world.get_map().name.endswith("loop")
    car = car_of(carla_world)
    car.set_autopilot(True, carla_traffic_manager.get_port())
    for _ in range(60):
        carla_world.tick()
    assert car.get_velocity().length() > 1.0

@pytest.mark.carla(synchronous=False)
def test_time_goes_on_by_itself(carla_world):
    frame = carla_world.get_snapshot().frame
    assert carla_world.wait_for_tick().frame > frame

def test_the_map_reloaded(carla_client, carla_world):
    car_of(carla_client.reload_world())

def test_no_car_of_the_reloaded_map(carla_world):
    assert not carla_world.get_actors().filter("vehicle.*")

def test_without_carla_world(carla_client):
    car_of(carla_client.get_world())

def test_what_was_there_before(carla_world):
    assert len(carla_world.get_actors().filter("vehicle.*")) == 1

def test_it_stays(carla_world):
    assert len(carla_world.get_actors().filter("vehicle.*")) == 1

def state(world):
    lights = sorted(world.get_actors().filter("traffic.traffic_light"), key=lambda light: light.id)
    times = [(light.get_green_time(), light.get_yellow_time(), light.get_red_time()) for light in lights]
    place = world.get_spectator().get_location()
    return {
        "times": times,
        "objects": len(world.get_environment_objects(carla.CityObjectLabel.Any)),
        "boxes": len(world.get_level_bbs(carla.CityObjectLabel.Any)),
        "gravity": world.get_imui_sensor_gravity(),
        "spectator": (place.x, place.y, place.z),
    }

BEFORE, FILES = {}, {}

@pytest.mark.carla(map="grid")
def test_it_changes_the_world(carla_world, carla_client, tmp_path):
    BEFORE.update(state(carla_world))
    assert len(BEFORE["times"]) == 8
    FILES.update(played=str(tmp_path / "played.log"), recorded=str(tmp_path / "recorded.log"))
    carla_client.start_recorder(FILES["played"])
    blueprint = carla_world.get_blueprint_library().find("vehicle.tesla.model3")
    blueprint.set_attribute("role_name", "hero")
    for point in carla_world.get_map().get_spawn_points()[:2]:
        carla_world.spawn_actor(blueprint, point)
        for _ in range(20):
            carla_world.tick()
    carla_client.stop_recorder()
    for number, light in enumerate(carla_world.get_actors().filter("traffic.traffic_light")):
        light.set_green_time(1.0 + number)
        light.set_yellow_time(0.5)
        light.set_red_time(0.25)
    houses = carla_world.get_environment_objects(carla.CityObjectLabel.Buildings)
    roads = carla_world.get_environment_objects(carla.CityObjectLabel.Roads)
    carla_world.enable_environment_objects((thing.id for thing in houses[:2] + roads[:3]), False)
    carla_world.enable_environment_objects(env_objects_ids={roads[0].id}, enable=True)
    carla_world.unload_map_layer(carla.MapLayer.Foliage)
    carla_world.set_imui_sensor_gravity(1.5)
    carla_world.get_spectator().set_transform(carla.Transform(carla.Location(1, 2, 3)))
    for car in carla_world.get_actors().filter("vehicle.*"):
        car.destroy()
    carla_world.tick()
    carla_client.start_recorder(FILES["recorded"])
    carla_client.replay_file(FILES["played"], 0.0, 0.0, 0)
    carla_client.set_replayer_ignore_hero(True)
    carla_world.tick()
    now = state(carla_world)
    assert all(now[key] != BEFORE[key] for key in BEFORE), (now, BEFORE)

@pytest.mark.carla(map="grid")
def test_the_world_is_as_before(carla_world, carla_client, carla_server):
    assert state(carla_world) == BEFORE
    folder = f"/proc/{carla_server.process.pid}/fd"
    opened = [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
    assert not {FILES["recorded"], FILES["played"]} & set(opened), "the recorder has stopped"
    for _ in range(30):
        carla_world.tick()
        assert not carla_world.get_actors().filter("vehicle.*"), "the replay has stopped"
    carla_client.replay_file(FILES["played"], 0.0, 0.0, 0)
    carla_world.tick()
    assert carla_world.get_actors().filter("vehicle.*"), "a replay shows the hero again"

def test_it_loads_the_map_without_layers(carla_client, carla_world):
    BEFORE.clear()
    BEFORE.update(state(carla_world))
    carla_client.load_world("loop", False, carla.MapLayer.NONE)

def test_the_layers_are_there_again(carla_world):
    assert state(carla_world) == BEFORE

@pytest.mark.carla(town="grid")
def test_a_misspelt_marker(carla_world):
    pass

@pytest.mark.carla(map="Atlantis")
def test_no_such_map(carla_world):
    pass
"""

REFUSED = {"test_a_misspelt_marker": "no argument 'town'", "test_no_such_map": "cannot load the map Atlantis"}


@pytest.mark.slow
def test_every_test_gets_a_clean_world(project: Path) -> None:
    status, output = pytest_in(project, CLEAN)
    found = outcomes(output)
    assert status == 1 and len(found) == CLEAN.count("\ndef test_"), output
    # One fails on purpose: pytest keeps its locals, which are objects of the client, until the process ends.
    expected = {"test_it_leaves_things_behind": "FAILED", **dict.fromkeys(REFUSED, "ERROR")}
    assert found == {name: expected.get(name, "PASSED") for name in found}, output
    for text in ("assert not <carla", *REFUSED.values()):
        assert text in output
    assert "During handling of" not in output


@pytest.mark.slow
def test_the_same_tests_on_a_running_server(project: Path, serve: Any) -> None:
    running = serve(map="grid")
    address = f"127.0.0.1:{running.port}"
    _, output = pytest_in(project, CLEAN, "--carla-address", address, "-k", "line or behind or left")
    assert outcomes(output) == {
        "test_one_line": "PASSED",
        "test_it_leaves_things_behind": "FAILED",
        "test_nothing_is_left": "PASSED",
    }, output
    wire = running.wire()
    assert wire.call("get_map_info")[0] == "Carla/Maps/loop"
    assert wire.call("get_episode_settings")[0] is False  # not synchronous


@pytest.mark.slow
def test_without_a_map_it_is_the_one_that_the_server_showed_first(project: Path, serve: Any) -> None:
    text = """
import pytest
def test_first(carla_world):
    assert carla_world.get_map().name.endswith("grid")
@pytest.mark.carla(map="loop")
def test_another(carla_world):
    assert carla_world.get_map().name.endswith("loop")
def test_first_again(carla_world):
    assert carla_world.get_map().name.endswith("grid")
"""
    status, output = pytest_in(project, text, "--carla-address", f"127.0.0.1:{serve(map='grid').port}", on="")
    assert status == 0 and "3 passed" in output, output


FAULTS = """
import os, signal
import carla

def listen(world, client):
    blueprints = world.get_blueprint_library()
    sensor = world.spawn_actor(blueprints.find("sensor.camera.rgb"), carla.Transform())
    sensor.listen(lambda image: None)
    world.tick()
    client.set_timeout(0.5)  # the next calls get no answer; those of other tests may take longer

def test_the_server_dies(carla_world, carla_client, carla_server):
    listen(carla_world, carla_client)
    carla_server.process.kill()
    carla_world.tick()

def test_after_its_death(carla_world):
    carla_world.tick()

def test_the_server_hangs(carla_world, carla_client, carla_server):
    listen(carla_world, carla_client)
    os.kill(carla_server.process.pid, signal.SIGSTOP)
    carla_world.tick()

def test_after_the_hang(carla_world):
    carla_world.tick()

def test_further_servers(carla_server_factory, carla_server):
    one, two = carla_server_factory(map="loop"), carla_server_factory(map="loop", npc=2)
    assert len({one.port, two.port, carla_server.port}) == 3 and one.host == "127.0.0.1"
    world = carla.Client(two.host, two.port).get_world()
    world.wait_for_tick()
    assert len(world.get_actors().filter("vehicle.*")) == 2
"""


@pytest.mark.slow
def test_a_server_that_fails_fails_one_test(project: Path) -> None:
    status, output = pytest_in(project, FAULTS)
    found = outcomes(output)
    assert status == 1 and len(found) == 5, output
    failing = {"test_the_server_dies", "test_the_server_hangs"}
    assert found == {name: "FAILED" if name in failing else "PASSED" for name in found}, output
    assert "minicarla had ended with status -9" in output and "did not answer" in output


@pytest.mark.slow
def test_a_client_that_aborts_fails_one_test_with_xdist(project: Path) -> None:
    text = """
import os
def test_before(carla_world, carla_server):
    with open("server", "w") as file:
        file.write(str(carla_server.process.pid))
def test_abort(carla_world):
    os.abort()
def test_after(carla_world):
    carla_world.tick()
"""
    status, output = pytest_in(project, text, "-n", "1")
    assert status == 1 and "2 passed" in output and "crashed while running 'test_it.py::test_abort'" in output
    server = int((project / "server").read_text())
    until(lambda: not Path(f"/proc/{server}").exists())


@pytest.mark.slow
def test_an_address_where_nobody_answers_costs_one_wait(project: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        text = "def test_one(carla_world): pass\ndef test_two(carla_client): pass\ndef test_three(): pass\n"
        status, output = pytest_in(project, text, "--carla-address", address, "--carla-timeout", "0.5")
    assert status == 1
    assert outcomes(output) == {"test_one": "ERROR", "test_two": "ERROR", "test_three": "PASSED"}
    assert f"no CARLA server answers at {address}: time-out of 500ms" in output


def test_pytest_stays_quick_without_a_test_of_carla() -> None:
    code = "import minicarla.testing.plugin, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0)
    loaded = set(done.stdout.split())
    assert "minicarla.testing.process" in loaded
    assert not loaded & {
        "carla",
        "numpy",
        "cv2",
        "msgpack",
        "scipy",
        "typer",
        "minicarla.server",
        "minicarla.maps",
    }


class Options:
    """What ``pytest_configure`` sees of a command line."""

    def __init__(self, tx: list[str], given: dict[str, Any]) -> None:
        self.option = type("Namespace", (), {"tx": tx})
        self.given = {"--carla-timeout": 20.0, **given}

    def getoption(self, name: str) -> Any:
        return self.given.get(name)

    def addinivalue_line(self, name: str, line: str) -> None:
        assert name == "markers" and line.startswith("carla(")


@pytest.mark.parametrize(
    ("given", "workers", "why"),
    [
        ({"--carla-address": "localhost"}, 0, "give HOST:PORT"),
        ({"--carla-address": "localhost:99999"}, 0, "give HOST:PORT"),
        ({"--carla-address": "localhost:2000"}, 2, "several workers"),
        ({"--carla-address": "localhost:2000", "--carla-maps": "."}, 0, "--carla-maps is for"),
        ({"--carla-map": "nowhere"}, 0, "no map nowhere; give one of .*town.*, or"),
        ({"--carla-map": "nowhere.xodr"}, 0, "no map nowhere.xodr"),
        ({"--carla-maps": "nowhere"}, 0, "no folder nowhere"),
        ({"--carla-timeout": 0.0}, 0, "above 0"),
    ],
)
def test_options_that_cannot_be_met(given: dict[str, Any], workers: int, why: str) -> None:
    with pytest.raises(pytest.UsageError, match=why):
        plugin.pytest_configure(Options(["popen"] * workers, given))  # type: ignore[arg-type]


def test_options_that_can(tmp_path: Path) -> None:
    (tmp_path / "Town77.xodr").write_text("")
    file = str(tmp_path / "Town77.xodr")
    for given in (
        {"--carla-map": "Town77", "--carla-maps": str(tmp_path)},
        {"--carla-map": file},
        {"--carla-map": "grid"},
        {"--carla-map": "Town10HD", "--carla-address": "localhost:2000"},
        {},
    ):
        plugin.pytest_configure(Options([], given))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_server_process() -> None:
    with ServerProcess(
        map="loop", npc=1, walkers=1, seed=3, synchronous=True, faults="error:version"
    ) as server:
        assert server.address == f"127.0.0.1:{server.port}"
        wire = Wire(server.port)
        assert wire.call("get_episode_settings")[0] is True  # synchronous
        with pytest.raises(RuntimeError, match="injected"):
            wire.call("version")
        kinds = [actor[2][1].split(".")[0] for actor in wire.call("get_actors_by_id", list(range(1, 9)))]
        assert {"vehicle", "walker"} <= set(kinds)
        wire.close()
        pid = server.pid
        assert server.alive and server.status is None and f"127.0.0.1:{server.port}" in server.output
        os.kill(pid, signal.SIGSTOP)  # even a process that stands still ends
        server.restart()
        assert server.alive and server.pid != pid
    assert not server.alive and server.status == 0


def test_a_server_process_that_cannot_start() -> None:
    with pytest.raises(ServerError, match="no map 'Atlantis'"):
        ServerProcess(map="Atlantis")
    with pytest.raises(ServerError, match="not ready within"):
        ServerProcess(map="loop", patience=0.0)
