"""The observation: scaling, sign and shape."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from av_td3.config import EnvConfig
from av_td3.driving import observation as obs
from av_td3.driving.state import StepState

CONFIG = EnvConfig()


def vector(speed=5.0, lateral=0.0, heading=0.0, position=(0.0, 0.0), yaw=0.0, waypoints=None):
    if waypoints is None:
        waypoints = np.stack([2.0 * np.arange(1, 26), np.zeros(25)], axis=1)
    return obs.vector(CONFIG, obs.Scene(StepState(speed, lateral, heading), position, yaw, waypoints))


def test_the_entries_are_what_the_table_says():
    values = vector(speed=7.5, lateral=-1.25, heading=math.pi / 4)
    assert values.dtype == np.float32 and values.shape == (53,)
    assert values[:3] == pytest.approx([0.5, -0.5, 0.25])
    assert values[3::2] == pytest.approx(np.ones(25)) and values[4::2] == pytest.approx(np.zeros(25))


def test_waypoints_are_in_the_cars_frame_ahead_and_right():
    # The car looks south (+y, yaw 90); the points lie south and 1 m to the west, its right.
    points = np.stack([-np.ones(25), 2.0 * np.arange(1, 26)], axis=1)
    reading = obs.read_vector(CONFIG, vector(position=(0.0, 0.0), yaw=math.pi / 2, waypoints=points))
    assert reading.waypoints[:, 0] == pytest.approx(2.0 * np.arange(1, 26), abs=1e-4)
    assert reading.waypoints[:, 1] == pytest.approx(np.ones(25), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 25),
    st.floats(-4, 4),
    st.floats(-math.pi, math.pi),
    st.floats(-500, 500),
    st.floats(-math.pi, math.pi),
)
def test_reading_inverts_writing_and_stays_in_the_space(speed, lateral, heading, x, yaw):
    points = np.stack([x + 2.0 * np.arange(1, 26), np.full(25, 3.0)], axis=1)
    values = vector(speed, lateral, heading, (x, 3.0), yaw, points)
    assert obs.observation_space(CONFIG)["vector"].contains(values)
    reading = obs.read_vector(CONFIG, values)
    assert reading[:3] == pytest.approx((speed, lateral, heading), abs=1e-5)
    assert np.hypot(*reading.waypoints.T) == pytest.approx(2.0 * np.arange(1, 26), rel=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_an_error_not_an_observation(bad):
    with pytest.raises(ValueError, match="not finite"):
        vector(speed=bad)


def shown(stack):
    """What a stack of four 84 x 84 pictures writes: the value of each picture."""
    written = np.full((4, 84, 84), 255, np.uint8)
    stack.write(written)
    assert (written == written[:, :1, :1]).all()
    return written[:, 0, 0].tolist()


def test_the_stack_starts_with_the_first_picture_and_ends_with_the_last():
    stack = obs.FrameStack(4, 84)
    pictures = [np.full((84, 84), k, np.uint8) for k in range(11)]
    stack.reset(pictures[0])
    assert shown(stack) == [0, 0, 0, 0]
    for k in range(1, 11):
        stack.push(pictures[k])
        assert shown(stack) == [max(0, k - back) for back in (3, 2, 1, 0)]
    stack.reset(pictures[1])
    assert shown(stack) == [1, 1, 1, 1]


def test_grayscale_is_luminance_shrunk_by_area():
    bgra = np.zeros((168, 168, 4), np.uint8)
    bgra[:, :, 1] = 255  # green
    assert obs.grayscale(bgra, 84).shape == (84, 84)
    assert int(obs.grayscale(bgra, 84)[0, 0]) == 150  # 0.587 * 255
    checker = np.zeros((168, 168, 4), np.uint8)
    checker[::2, ::2, :3] = 255
    assert set(np.unique(obs.grayscale(checker, 84))) == {64}


@pytest.mark.parametrize("action", [[np.nan, 0.0], [0.0, np.inf], [-np.inf, 0.0]])
def test_actions_that_are_not_finite_are_refused(action):
    with pytest.raises(ValueError, match="not finite"):
        obs.check_action(action)


def test_actions_are_clipped_and_of_the_right_shape():
    assert obs.check_action([3.0, -7.0]).tolist() == [1.0, -1.0]
    for wrong in ([0.0], [0.0, 0.0, 0.0], [[0.0, 0.0]], 0.5):
        with pytest.raises(ValueError, match="shape"):
            obs.check_action(wrong)


# ---------------------------------------------------------------- what the agent sees, what its critic sees


def configured(**observation) -> EnvConfig:
    return EnvConfig.model_validate({"observation": observation})


def scene(**changes) -> obs.Scene:
    straight = np.stack([2.0 * np.arange(1, 26), np.zeros(25)], axis=1)
    path = np.stack([np.arange(1.0, 51.0), np.zeros(50)], axis=1)
    values = {"state": StepState(3.0, 0.5, 0.1), "position": (0.0, 0.0), "yaw": 0.0}
    return obs.Scene(**{**values, "waypoints": straight, "path": path, **changes})


def test_by_sight_the_vector_tells_nothing_of_the_lane():
    config = configured(vector="sight", previous_action=True)
    values = obs.vector(config, scene(command="left", junction_distance=15.0, previous_action=(0.3, -0.2)))
    assert values == pytest.approx([3.0 / obs.SPEED_SCALE, 0, 1, 0, 0, 0.5, 0.3, -0.2])
    moved = obs.vector(
        config,
        scene(
            command="left",
            junction_distance=15.0,
            previous_action=(0.3, -0.2),
            state=StepState(3.0, -1.0, 0.5),
            waypoints=np.ones((25, 2)),
        ),
    )
    assert np.array_equal(values, moved)
    far = obs.vector(config, scene(command="left", junction_distance=40.0))
    assert far[1:6] == pytest.approx([1, 0, 0, 0, 1]), "a junction further than the range is not announced"
    with pytest.raises(ValueError, match="privileged=true"):
        obs.read_vector(config, values)


def test_privileged_entries_come_last_and_hold_the_lane_and_the_route():
    config = configured(vector="sight", privileged=True)
    values = obs.vector(config, scene())
    assert values.shape == (config.vector_size,) == obs.observation_space(config)["vector"].shape
    plain = configured(vector="sight")
    assert np.array_equal(values[: config.visible_size], obs.vector(plain, scene()))
    reading = obs.read_vector(config, values)
    assert reading[:3] == pytest.approx((3.0, 0.5, 0.1)) and reading.waypoints[-1] == pytest.approx((50, 0))


def test_the_lead_is_the_next_vehicle_on_the_route_and_neighbours_are_sorted_by_distance():
    config = configured(privileged=True)
    others = np.array(
        [
            [30.0, 0.5, 4.0, 0.0],  # on the route, further
            [12.0, -1.0, 5.0, 0.0],  # on the route, next
            [5.0, 4.0, 0.0, -3.0],  # nearer, beside it
            [300.0, 0.0, 0.0, 0.0],  # out of sight
        ]
    )
    around = {"obstacle_distance": 10.0, "obstacle_speed": 4.5, "light_distance": 25.0, "light": "red"}
    seen = scene(others=others, velocity=(3.0, 0.0), state=StepState(3.0, 0.5, 0.1, **around))
    values = obs.vector(config, seen)
    place, entries = config.visible_size, {}
    for name, count in config.privileged_entries.items():
        entries[name] = values[place : place + count]
        place += count
    assert entries["lead"] == pytest.approx([11 / obs.RANGE, 5 / obs.SPEED_SCALE])
    assert entries["obstacle"] == pytest.approx([0.2, 0.3])
    assert entries["light"] == pytest.approx([0.5, 1.0])
    near = entries["neighbours"].reshape(-1, 4)
    assert near[0] == pytest.approx([0.1, 0.08, -0.2, -0.2]) and near[1, 0] == pytest.approx(12 / obs.RANGE)
    assert near[2, 0] == pytest.approx(0.6) and near[3:] == pytest.approx(np.tile([2.0, 0, 0, 0], (3, 1)))
    empty = obs.vector(config, scene())
    assert empty.shape == values.shape


@pytest.mark.parametrize("mode", ["route", "sight"])
def test_the_actor_may_be_told_the_next_traffic_light(mode):
    config = configured(vector=mode, traffic_light=True, privileged=True)
    red = scene(state=StepState(3.0, 0.5, 0.1, light_distance=25.0, light="red"))
    visible = obs.vector(config, red)[: config.visible_size]
    assert visible[-2:] == pytest.approx([25.0 / obs.RANGE, 1.0])
    green = scene(state=StepState(3.0, 0.5, 0.1, light_distance=25.0, light="green"))
    assert obs.vector(config, green)[config.visible_size - 1] == 0.0
    assert "light" not in config.privileged_entries, "the critic is told once"
    assert "light" in configured(vector=mode, privileged=True).privileged_entries


@pytest.mark.parametrize("mode", ["route", "sight", "state"])
@pytest.mark.parametrize("previous_action", [False, True])
@pytest.mark.parametrize("traffic_light", [False, True])
@pytest.mark.parametrize("privileged", [False, True])
def test_every_form_of_the_vector_has_the_size_that_the_configuration_gives(
    mode, previous_action, traffic_light, privileged
):
    config = configured(
        vector=mode, previous_action=previous_action, traffic_light=traffic_light, privileged=privileged
    )
    assert obs.vector(config, scene(others=np.ones((2, 4)))).shape == (config.vector_size,)
