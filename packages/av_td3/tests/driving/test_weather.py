"""Weather and light of an episode: drawn with its seed, changed through the client, put back at the end."""

from types import SimpleNamespace

import carla
import numpy as np
import pytest

from av_td3.config import ConfigError, load_config
from av_td3.driving import weather
from av_td3.driving.session import DrivingSession


def test_training_and_test_share_no_weather_and_all_are_presets_of_carla():
    assert not set(weather.TRAIN) & set(weather.HELD_OUT)
    presets = {name for name in dir(carla.WeatherParameters) if name[0].isupper()}
    assert sorted(weather.ALL) == sorted(presets - {"Default"})


@pytest.mark.parametrize(("kind", "names"), [("train", weather.TRAIN), ("held_out", weather.HELD_OUT)])
def test_every_weather_of_a_set_is_drawn_and_the_seed_decides(kind, names):
    def draws(seed):
        rng = np.random.default_rng(seed)
        return [weather.draw(kind, rng) for _ in range(40)]

    assert set(draws(0)) == set(names) and draws(0) == draws(0) != draws(1)


def test_fixed_draws_nothing():
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    assert weather.draw("fixed", rng) is None and rng.random() == untouched.random()


def test_an_unknown_set_is_refused():
    with pytest.raises(ConfigError, match=r"env\.weather = 'stormy'"):
        load_config(overrides=["env.weather=stormy"])


def test_the_session_puts_the_weather_back_only_if_it_was_changed():
    given = []
    world = SimpleNamespace(
        get_weather=lambda: "as it was", set_weather=given.append, apply_settings=lambda settings: None
    )

    def session():
        made = object.__new__(DrivingSession)
        made.world, made._weather, made._original = world, None, None
        made._claim = SimpleNamespace(release=lambda: None)
        return made

    session().close()
    assert given == []
    changed = session()
    changed.set_weather("rain")
    changed.set_weather("fog")
    changed.close()
    assert given == ["rain", "fog", "as it was"]
