"""``av-td3 drive``: what is driven, filmed and said, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import urllib.request

import imageio.v3 as iio
import numpy as np
import pytest
from rich.console import Console

from av_td3.commands import drive
from av_td3.errors import INTERRUPTED, OK, UserError
from av_td3.evaluation.video import PANEL, WIDTH
from av_td3.training.shipped import ShippedAgentError
from tools import ship_agent

from ..evaluation.fake_env import FakeDrivingEnv
from ..training.test_shipped import finished_run


class ShortEnv(FakeDrivingEnv):
    """Ten steps an episode."""

    def __init__(self, config, split, render_mode=None):
        super().__init__(config, length=10.0)
        assert split == "held_out"
        self.render_mode, self.max_steps, self.server_address = render_mode, 10, None

    def close(self):
        self.closed = True


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """The folder of a tiny agent, and an environment that needs no simulator."""
    run, _ = finished_run(tmp_path / "run")
    made = []
    monkeypatch.setattr(drive, "SupervisedEnv", lambda *a, **k: made.append(ShortEnv(*a, **k)) or made[-1])
    return ship_agent.ship(run.path, tmp_path / "tiny").folder, made


def test_five_routes_are_driven_and_described(agent, capsys):
    folder, envs = agent
    assert drive.drive(str(folder), seed=7, npc=2, map_="grid") == OK
    (env,) = envs
    assert env.seeds == [7, 8, 9, 10, 11] and env.closed and env.render_mode is None
    assert (env.config.simulator.npc, env.config.simulator.map) == (2, "grid")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"agent: {folder}" and len(out) == 7
    assert all("time limit" in line and "% of 10 m" in line for line in out[1:6])
    assert out[6].startswith("drove 0.0") and "0:02 of simulated time: arrived on 0 of 5 routes" in out[6]
    assert max(map(len, out[1:])) <= 110


def test_the_film_shows_all_routes(agent, tmp_path, capsys):
    folder, (*_,) = agent
    film = tmp_path / "film.mp4"
    assert drive.drive(str(folder), episodes=2, video=film) == OK
    frames = iio.imread(film, plugin="FFMPEG")
    assert frames.shape[0] == 2 * (10 + 20) and frames.shape[2] == WIDTH and frames.shape[1] > PANEL
    assert f"video: {film}" in capsys.readouterr().out


def interrupted_after(monkeypatch, steps):
    step, count = ShortEnv.step, iter(range(10**6))

    def stop(self, action):
        if next(count) == steps:
            signal.raise_signal(signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(ShortEnv, "step", stop)


def test_ctrl_c_tells_what_was_driven_and_keeps_the_film(agent, tmp_path, monkeypatch, capsys):
    folder, envs = agent
    interrupted_after(monkeypatch, 15)
    film = tmp_path / "film.mp4"
    assert drive.drive(str(folder), video=film) == INTERRUPTED
    assert "on 0 of 1 routes, 0 collisions; the last route was left at" in capsys.readouterr().out
    assert len(iio.imread(film, plugin="FFMPEG")) == 15 + 20
    assert envs[0].closed


class Clock:
    """A clock that only sleeping moves, and work when it is told of it."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_live_drive_keeps_the_pace_until_ctrl_c(agent, monkeypatch):
    folder, envs = agent
    interrupted_after(monkeypatch, 12)
    clock, stepped = Clock(), []
    step = ShortEnv.step

    def slow(self, action):
        stepped.append(clock.now)
        clock.now += 1.0 if len(stepped) == 4 else 0.01  # one step takes a second, the others little
        return step(self, action)

    monkeypatch.setattr(ShortEnv, "step", slow)
    monkeypatch.setattr(drive, "time", clock)
    assert drive.drive(str(folder), live=True) == OK
    assert envs[0].seeds == [1_000_000, 1_000_001]
    pauses = np.diff(stepped)
    # At an episode's start it does not wait, and after a slow step it does not hurry.
    assert pauses[[*range(3), *range(4, 9), 10, 11]] == pytest.approx(0.05)
    assert pauses[3] == pytest.approx(1.0) and pauses[9] == pytest.approx(0.01)


def test_what_cannot_be_driven(agent, tmp_path):
    folder, envs = agent
    for video in (tmp_path / "film.avi", tmp_path / "nowhere" / "film.mp4"):
        with pytest.raises(UserError, match=r"--video"):
            drive.drive(str(folder), video=video)
    with pytest.raises(ShippedAgentError, match="neither an agent nor a run"):
        drive.drive("nobody")
    assert not envs


def test_a_film_that_cannot_be_written_is_one_error(agent, tmp_path, monkeypatch):
    folder, envs = agent
    monkeypatch.setattr(ShortEnv, "render", lambda self: np.zeros((4, 4), np.float32))
    monkeypatch.setattr(drive, "compose", lambda picture, *_: picture)
    with pytest.raises(UserError, match="a frame is uint8"):
        drive.drive(str(folder), video=tmp_path / "film.mp4")
    assert envs[0].closed


def test_a_page_is_opened_where_there_is_a_display(monkeypatch):
    opened = []
    monkeypatch.setattr(drive.webbrowser, "open", opened.append)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    drive.open_page("http://a/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    drive.open_page("http://a/")
    assert opened == ["http://a/"]


class Served:
    """What the live page needs of an environment."""

    server_address: str | None = None


@pytest.fixture
def server():
    command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", "loop"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    served = Served()
    served.server_address = process.stdout.readline().split()[4]
    yield served
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_the_live_page_shows_the_simulator_and_ends_with_the_drive(server, monkeypatch, capsys):
    monkeypatch.setattr(drive, "open_page", lambda url: None)
    with drive.LivePage(server, Console()) as page:
        page.follow()
        page.follow()  # the same simulator: nothing happens
        assert page.url is not None and capsys.readouterr().out == f"live: {page.url}\n"
        with urllib.request.urlopen(page.url, timeout=10) as answer:
            assert b"minicarla" in answer.read()
        state = page.url.split("?")[0] + "state.json"
        with urllib.request.urlopen(state, timeout=10) as answer:
            assert b'"problem"' in answer.read()
        viewer = page._viewer
    assert viewer.sentinel < 0, "the viewer is still there"


@pytest.mark.slow
def test_a_drive_goes_on_without_its_page(monkeypatch, capsys):
    served = Served()
    served.server_address = "127.0.0.1:1"
    with drive.LivePage(served, Console()) as page:
        page.follow()
        assert page.url is None and "there is no live page" in capsys.readouterr().out


@pytest.mark.slow
def test_a_drive_on_minicarla(tmp_path):
    """The command as a user calls it, and Ctrl-C."""
    run, _ = finished_run(tmp_path / "run")
    folder = ship_agent.ship(run.path, tmp_path / "tiny").folder
    command = [sys.executable, "-m", "av_td3", "drive", "--agent", str(folder), "--npc", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killer = threading.Thread(target=lambda: (time.sleep(0.5), process.send_signal(signal.SIGINT)))
    first = process.stdout.readline(), process.stdout.readline()
    killer.start()
    out, err = process.communicate(timeout=60)
    killer.join()
    assert process.returncode == 130 and "Traceback" not in err, err
    assert "->" in first[1] and "drove" in out and "of simulated time" in out
