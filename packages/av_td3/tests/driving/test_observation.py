"""The observation: scaling, sign and shape."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from av_td3.config import EnvConfig
from av_td3.driving import observation as obs

CONFIG = EnvConfig()


def vector(speed=5.0, lateral=0.0, heading=0.0, position=(0.0, 0.0), yaw=0.0, waypoints=None):
    if waypoints is None:
        waypoints = np.stack([2.0 * np.arange(1, 26), np.zeros(25)], axis=1)
    return obs.vector(CONFIG, speed, lateral, heading, position, yaw, waypoints)


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
