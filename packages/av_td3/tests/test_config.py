"""The configuration explains itself, and refuses what it cannot use."""

import re

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from av_td3.commands.changes import changed
from av_td3.config import (
    Config,
    ConfigError,
    config_from_dict,
    load_config,
    parse_address,
    preset_names,
)
from av_td3.driving import observation as obs
from av_td3.driving.observation import Scene
from av_td3.driving.state import StepState


def keys(section, prefix=""):
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


@pytest.mark.parametrize("name", [name for name, _ in keys(Config)])
def test_every_key_says_what_it_means(name):
    description = dict(keys(Config))[name].description
    assert description is not None and len(description.split()) > 1 and description.rstrip().endswith(".")


@pytest.mark.parametrize(("ending", "unit"), [("_s", "Seconds"), ("_m", "metres"), ("_kmh", "km/h")])
def test_a_key_with_a_unit_in_its_name_says_the_unit(ending, unit):
    named = {name: field.description for name, field in keys(Config) if name.endswith(ending)}
    assert named and all(unit.lower() in text.lower() for text in named.values()), named


@pytest.mark.parametrize(
    ("address", "pair"),
    [
        ("localhost", ("localhost", 2000)),
        ("10.0.0.7:2500", ("10.0.0.7", 2500)),
        ("carla:65533", ("carla", 65533)),
    ],
)
def test_addresses(address, pair):
    assert parse_address(address) == pair


@pytest.mark.parametrize(
    "address", ["", ":2000", "host:", "host:0", "host:65534", "host:-1", "host:x", "a b:2000"]
)
def test_what_is_no_address_is_refused_with_the_key_and_an_example(address):
    with pytest.raises(ConfigError, match=r"^env\.simulator\.address: .* such as 127\.0\.0\.1:2000$"):
        config_from_dict({"env": {"simulator": {"address": address}}})


def test_messages_name_the_key_the_value_and_the_limit():
    with pytest.raises(ConfigError, match=r"unknown key 'agent\.gama' \(did you mean 'agent\.gamma'\?\)"):
        load_config(overrides=["agent.gama=0.9"])
    with pytest.raises(ConfigError, match=r"agent\.gamma = 2.*less than 1"):
        load_config(overrides=["agent.gamma=2"])
    with pytest.raises(ConfigError, match=r"^env\.route: max_length_m must be greater than min_length_m$"):
        load_config(overrides=["env.route.max_length_m=100"])


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (["env.observation.vector=sight", "agent.encoder=asymmetric"], "privileged=true"),
        (["agent.state_loss=1"], "privileged=true"),
        (["agent.state_loss=1", "env.observation.privileged=true", "agent.encoder=shared"], "asymmetric"),
    ],
)
def test_a_critic_that_would_see_too_little_is_refused(settings, advice):
    with pytest.raises(ConfigError, match=advice):
        load_config(overrides=settings)


def test_evaluations_may_change_the_scene_but_not_what_the_agent_sees():
    scene = {"simulator": {"npc_placement": "anywhere", "npc_speed": None}, "termination": {"stuck_s": 30}}
    training = {"simulator": {"npc": 20, "npc_placement": "near", "npc_speed": [0.4, 1.0]}}
    config = config_from_dict({"env": training, "evaluation": {"env": scene}})
    assert config.env.simulator.npc_placement == "near" and config.env.termination.stuck_s == 6
    evaluated = config.for_evaluation()
    simulator = evaluated.env.simulator
    assert (simulator.npc, simulator.npc_placement, simulator.npc_speed) == (20, "anywhere", None)
    assert evaluated.env.termination.stuck_s == 30 and evaluated.for_evaluation() == evaluated
    assert config_from_dict(yaml.safe_load(config.to_yaml())) == config
    given = changed(config, npc=5, settings=["env.termination.stuck_s=7"]).env  # a call has the last word
    assert (given.simulator.npc, given.simulator.npc_placement, given.termination.stuck_s) == (
        5,
        "anywhere",
        7,
    )


@pytest.mark.parametrize("vector", ["route", "state"])
def test_other_ends_of_an_episode_leave_the_units_of_the_vector_alone(vector):
    """An agent that was trained with a road of 3 m sees the same, whatever counts as off the road later."""
    training = {"termination": {"off_road_m": 3.0, "stuck_s": 6.0}, "observation": {"vector": vector}}
    config = config_from_dict({"env": training, "evaluation": {"env": {"termination": {"off_road_m": 4.0}}}})
    ends = ["env.termination.off_road_m=9", "env.termination.stuck_s=30"]
    scene = Scene(StepState(lateral=1.5, slow_seconds=3.0), (0.0, 0.0), 0.0, np.ones((25, 2)))
    trained = obs.vector(config.env, scene)
    for env in (config.for_evaluation().env, changed(config).env, changed(config, settings=ends).env):
        assert env.termination.off_road_m >= 4.0
        assert np.array_equal(obs.vector(env, scene), trained)
        assert obs.read_vector(env, trained).lateral == 1.5
    assert trained[1] == 0.5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("observation.traffic_light", True),
        ("observation.lateral_unit_m", 4.0),
        ("observation.standing_unit_s", 30.0),
        ("camera.fov", 60.0),
        ("route.waypoints", 10),
        ("route.waypoints", 30),
        ("route.waypoint_spacing_m", 4.0),
        ("route.held_out_fraction", 0.5),
        ("action_repeat", 4),
        ("action_smoothing", 0.5),
    ],
)
def test_what_an_agent_sees_and_how_it_acts_stays_wherever_it_drives(key, value):
    says = rf"env\.{re.escape(key)}: it was .* in training and is to be {value}: what an agent sees"
    tree = {"evaluation": {"env": nested(key, value)}}
    with pytest.raises(ConfigError, match=rf"evaluation\.{says}"):
        config_from_dict(tree)
    for where in ("env", "evaluation.env"):  # a call to evaluate or drive
        with pytest.raises(ConfigError, match=says):
            changed(load_config(), settings=[f"{where}.{key}={value}"])


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def test_a_call_may_change_evaluations_scene_as_well():
    given = changed(load_config("base"), settings=["evaluation.env.termination.stuck_s=7"])
    assert given.env.termination.stuck_s == 7


@pytest.mark.parametrize(
    ("scene", "says"),
    [
        ({"terminations": {}}, "evaluation.env.terminations: Extra inputs are not permitted"),
        (
            {"termination": {"stuck_s": -1}},
            "evaluation.env.termination.stuck_s: Input should be greater",
        ),
    ],
)
def test_a_scene_for_evaluations_that_does_not_fit_is_refused(scene, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        config_from_dict({"evaluation": {"env": scene}})


def test_an_encoder_that_needs_a_larger_picture_says_so():
    with pytest.raises(ConfigError, match=r"at least 44 x 44 pixels, and env\.camera\.size is 43"):
        config_from_dict({"agent": {"encoder_net": "tiny"}, "env": {"camera": {"size": 43}}})
    blind = config_from_dict(
        {"agent": {"encoder_net": "tiny", "encoder": "none"}, "env": {"camera": {"size": 43}}}
    )
    assert blind.env.camera.size == 43


def test_the_penalty_on_the_actions_change_has_one_weight_or_one_for_each_action():
    for weights in (0.1, (0.2, 0.04)):
        assert (
            config_from_dict({"agent": {"action_change_penalty": weights}}).agent.action_change_penalty
            == weights
        )
    with pytest.raises(
        ConfigError, match="3 weights: give one for all, or two, for steering and for the pedals"
    ):
        config_from_dict({"agent": {"action_change_penalty": [0.1, 0.1, 0.1]}})


@pytest.mark.parametrize(
    "name", [name for name in preset_names() if load_config(name).agent.lr_decay_updates]
)
def test_a_preset_whose_rates_fall_is_trained_to_their_end(name):
    """Cut short by a limit in minutes on a slower machine it would keep a policy of the full rate."""
    config = load_config(name)
    updates = config.train.updates_per_step * (config.train.steps - config.train.learning_starts)
    assert config.train.max_minutes is None and config.agent.lr_decay_updates[1] <= updates
