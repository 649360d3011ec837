"""Whole programs, as people write them for CARLA, in processes of their own against ``minicarla serve``.

They lie in ``programs/``, know nothing of minicarla, and print what they found out as JSON.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import need_client

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of one server for all programs, which therefore must leave it as they found it."""
    command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", "town", "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            ready = server.stdout.readline()
            yield int(ready.split("127.0.0.1:")[1].split()[0])
            assert server.poll() is None, "a program has ended the server"
        finally:
            server.terminate()


@pytest.fixture
def run(port: int) -> Callable[..., Any]:
    """A function that runs a program with further arguments and gives back what it found out."""
    need_client()

    def start(name: str, *arguments: object) -> Any:
        done = subprocess.run(
            [sys.executable, str(PROGRAMS / f"{name}.py"), "--port", str(port), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60.0,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    return start


@pytest.mark.slow
def test_pictures_of_three_cameras_belong_together(run: Callable[..., Any], tmp_path: Path) -> None:
    found = run("collect_cameras", "--out", tmp_path)
    assert found["same_frame"] and found["consecutive"]
    assert found["depth_error"] < 1e-3  # of a street's depth, from the camera's height alone
    assert found["road_share"] > 0.15
    assert 60.0 < found["brightness"][0] < found["brightness"][1] < 200.0
    assert found["moved"] == pytest.approx(10.0, abs=0.3)  # 40 ticks at 5 m/s
    assert found["files"] == ["rgb.png", "rgb.png", "tags.png", "tags.png"]


@pytest.mark.slow
def test_traffic_in_batches(run: Callable[..., Any]) -> None:
    with socket.create_server(("", 0)) as free:
        tm_port = free.getsockname()[1]
    found = run("traffic", "--tm-port", tm_port, "--ticks", 300)
    assert not found["failed"] and found["vehicles"] == 20 and found["walkers"] >= 8
    assert found["driven"][4] > 60.0, "most of the vehicles must get along"
    assert found["walked"][2] > 10.0  # 15 s at 1.4 m/s
    assert found["offset_median"] < 0.2 and found["offset_90"] < 1.0
    assert 6.0 < found["fastest"] < 16.0  # limits are 30 and 50 km/h
    assert found["walkers_on_roads"] < 0.3
    assert found["left"] == []


@pytest.mark.slow
def test_3d_boxes_frame_what_the_camera_sees(run: Callable[..., Any]) -> None:
    found = run("project_boxes")
    assert len(found) == 4
    for vehicle in found:
        assert vehicle["pixels"] > 300 and vehicle["iou"] > 0.8, vehicle


def test_lidar_and_depth_camera_agree(run: Callable[..., Any]) -> None:
    found = run("project_lidar")
    assert found["in_step"]
    assert found["points"] > 5000
    assert found["median"] < 0.01
    assert found["within_5_percent"] > 0.97  # the rest lies at the edges of things


@pytest.mark.slow
def test_a_route_can_be_followed(run: Callable[..., Any]) -> None:
    found = run("follow_route")
    assert found["finished"] and found["driven"] > 360.0
    assert found["collisions"] == 0
    assert found["off_median"] < 0.15 and found["off_most"] < 1.6
    assert 20.0 < found["speed"][0] < found["speed"][1] < 28.0  # 25 km/h are asked for
    assert found["sharpest"] > 10.0, "there was no corner on the way"


@pytest.mark.slow
def test_a_recording_is_what_happened(run: Callable[..., Any], tmp_path: Path) -> None:
    found = run("record_and_replay", "--file", tmp_path / "crash.log")
    assert found["error"] < 0.01  # metres, of any vehicle in any tick
    assert found["driven"] > 20.0
    assert found["vehicles"] == [5] and found["kept"] == 5 and found["left"] == 0
    assert found["frames"] == 200
    assert found["names_all"]
    assert found["crashes"] and found["blocked"]


@pytest.mark.slow
def test_the_text_about_a_recording_can_be_parsed(run: Callable[..., Any], tmp_path: Path) -> None:
    """CARLA's text, whose words and columns programs such as scenario_runner rely on."""
    found = run("read_recording", "--file", tmp_path / "drive.log")
    about = found["about"]
    assert (about["map"], about["frames"]) == ("grid", 60)
    assert about["duration"] == pytest.approx(59 * 0.05)
    assert found["times"] == pytest.approx([0.0, 0.05, 59 * 0.05])
    assert found["off"] < 0.01, "metres; numbers have six digits, as in CARLA"
    assert found["turned"] < 0.01
    assert found["hero"] == ["vehicle.audi.tt", "(1)", "hero"]
    assert found["spawned_at"] < 0.1
    assert found["parent"] and found["destroyed"] == 41
    assert found["collided"] and found["numbered"] and found["hero_named"]
    assert max(found["control"][:2]) < 1e-5 and found["control"][2]
    assert found["lamps"] == ["Position", "Fog"] and found["no_lamps"] == ["None"]
    assert found["walker_speed"] == 1.25
    assert found["velocity"] < 1e-3 and found["extent"] < 1e-3 and found["volume"] < 0.01
    assert found["light"] and found["light_times"] and found["mass"] < 0.1 and found["wheels"] == 8
    assert 0.0 <= found["platform_times"][0] < found["platform_times"][1]
    positions, created, actors = found["brief"]
    assert positions == 0 and created == actors
    hero, other = found["ids"]
    (crash,) = found["crashes"][5:-3]
    assert found["crashes"][4].split() == ["Time", "Types", "Id", "Actor", "1", "Id", "Actor", "2"]
    columns = [crash[:8], crash[11], crash[13], crash[16:22], crash[23:58], crash[59:65], crash[66:]]
    assert [text.strip() for text in columns[1:]] == [
        *("v", "v", str(hero), "vehicle.audi.tt", str(other), "vehicle.mini.cooper_s")
    ]
    assert [str(other), "vehicle.mini.cooper_s"] in [row[1:3] for row in found["standing"]]
    assert found["missing"] == "File /nowhere/at_all.log not found on server\n" == found["replay_missing"]
    assert found["not_one"] == "File is not a CARLA recorder\n"
