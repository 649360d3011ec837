"""What cannot be is refused with one clear error before anything is started."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import psutil
import pytest

import av_td3
from av_td3.config import Config, ConfigError, EnvConfig
from av_td3.supervision.supervised import SupervisedEnv


def with_simulator(**values):
    """A configuration whose values nobody has validated."""
    config = EnvConfig()
    return config.model_copy(update={"simulator": config.simulator.model_copy(update=values)})


WRONG = {
    "a dict": ({"config": {"simulator": {}}}, TypeError, "EnvConfig.model_validate"),
    "a whole configuration": ({"config": Config()}, TypeError, r"pass its \.env"),
    "something else": ({"config": "quick"}, TypeError, "must be an EnvConfig, not str"),
    "a preset and a config": ({"config": EnvConfig(), "preset": "quick"}, TypeError, "not both"),
    "no such preset": ({"preset": "quikc"}, ConfigError, "did you mean 'quick'"),
    "no such split": (
        {"split": "test"},
        ValueError,
        "split 'test' does not exist; there are: train, held_out",
    ),
    "no such render mode": ({"render_mode": "human"}, ValueError, "there are: None, rgb_array"),
    "no such map": ({"map": "Towm"}, ConfigError, "no map 'Towm'.*town"),
    "a map that is no file": ({"map": "/nowhere/a.xodr"}, ConfigError, "no file /nowhere/a.xodr"),
    "a port too high": ({"address": "127.0.0.1:99999"}, ConfigError, "port 1 to 65533, such as"),
    "a folder that cannot be": ({"log_dir": "/dev/null/x"}, ValueError, "log_dir: cannot make .*Not a dir"),
    "no host": ({"address": ":2000"}, ConfigError, "give host:port"),
    "no port": ({"address": "host:"}, ConfigError, "give host:port"),
    "too many vehicles": (
        {"npc": 501},
        ConfigError,
        r"env\.simulator\.npc = 501: .* less than or equal to 500",
    ),
    "half a vehicle": ({"npc": 1.5}, ConfigError, r"env\.simulator\.npc = 1\.5"),
    "a copy that nobody validated": (
        {"config": with_simulator(npc=-1)},
        ConfigError,
        r"env\.simulator\.npc = -1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused_at_once(name):
    arguments, error, says = WRONG[name]
    before = psutil.Process().children(recursive=True)
    with pytest.raises(error, match=says):
        SupervisedEnv(**arguments)
    assert psutil.Process().children(recursive=True) == before


OPTIONS = [
    ({"route": "x"}, "route is the number of a route, not 'x'"),
    ({"route": 1.0}, "route is the number of a route, not 1.0"),
    ({"route": True}, "route is the number of a route, not True"),
    ({"route": -1}, "route -1 does not exist"),
    ({"rout": 1}, r"unknown reset options \['rout'\]; there are: route, record"),
    ({"record": "yes"}, "record is True or False"),
    ({"record": True}, "render_mode"),
    ("route", "options must be a dict, not str"),
]


@pytest.mark.parametrize(("options", "says"), OPTIONS)
def test_wrong_reset_options_are_refused_at_once(options, says):
    with SupervisedEnv() as env:
        before = psutil.Process().children(recursive=True)
        with pytest.raises(ValueError, match=says):
            env.reset(options=options)
        assert psutil.Process().children(recursive=True) == before and env.incidents == []


@pytest.fixture(scope="module")
def crowded():
    """An environment on a map that is too small for the vehicles that it asks for."""
    with SupervisedEnv(preset="debug", npc=300) as env:
        yield env


@pytest.mark.slow
def test_fewer_vehicles_than_asked_for_are_counted_and_said_once(crowded):
    with pytest.warns(UserWarning, match=r"loop has room for \d+ of the 300 other vehicles"):
        _, info = crowded.reset(seed=0)
    assert 0 < info["npc"] < 300
    assert crowded.step(np.zeros(2, np.float32))[4]["npc"] == info["npc"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crowded.reset(seed=1)


def test_a_route_is_any_whole_number_that_exists(crowded):
    names = {crowded.reset(options={"route": number})[1]["route"] for number in (0, np.int64(0))}
    assert len(names) == 1
    with pytest.raises(ValueError, match=rf"have the numbers 0 \.\. {crowded.route_count - 1}$"):
        crowded.reset(options={"route": crowded.route_count})
    assert crowded.incidents == []


def test_gymnasium_makes_it_from_keywords():
    made = gymnasium.make("av_td3/Driving-v0", preset="debug", map="grid", npc=3, render_mode="rgb_array")
    config = made.unwrapped.config
    assert (config.simulator.map, config.simulator.npc, config.termination.max_steps) == ("grid", 3, 120)
    assert made.unwrapped.render_mode == "rgb_array"
    made.close()
    with pytest.raises(TypeError, match="'npcs'"):
        gymnasium.make("av_td3/Driving-v0", npcs=3)
    with pytest.raises(ConfigError, match="no map 'gird'"):
        gymnasium.make("av_td3/Driving-v0", map="gird")


def test_gymnasium_makes_it_without_an_import():
    program = (
        "import gymnasium; env = gymnasium.make('av_td3:av_td3/Driving-v0', npc=2);"
        "print(env.unwrapped.config.simulator.npc)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "2", done.stderr


def test_registering_twice_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        av_td3.register_envs()
    assert "av_td3/Driving-v0" in gymnasium.registry
