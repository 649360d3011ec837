"""Each end of an episode by its name, its switch, and what beats what."""

import math

import pytest

from av_td3.config import TerminationConfig
from av_td3.driving.state import StepState
from av_td3.driving.termination import FAILURES, SUCCESS, TIME_LIMIT, TRUNCATIONS, termination

RULES = TerminationConfig()
EVENTS = {
    "collision": StepState(collisions=1),
    "off_road": StepState(lateral=-2.6),
    "wrong_way": StepState(heading_error=math.radians(-101)),
    "lane_invasion": StepState(lane_invasions=1),
    "red_light": StepState(red_lights_run=1),
    "stuck": StepState(slow_seconds=6.0),
}


def test_nothing_happens_to_a_car_that_drives():
    assert termination(StepState(speed=8.0, lateral=2.4, heading_error=1.7, steps=5), RULES) is None


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_has_a_name_and_a_switch(name):
    on = RULES.model_copy(update={name: True})
    off = RULES.model_copy(update={name: False})
    assert termination(EVENTS[name], on) == name
    assert termination(EVENTS[name], off) is None
    assert name not in TRUNCATIONS


def test_touching_a_marking_ends_nothing_by_default():
    assert termination(EVENTS["lane_invasion"], RULES) is None


def test_the_limit_truncates_and_success_does_not():
    assert termination(StepState(steps=RULES.max_steps), RULES) == TIME_LIMIT
    assert termination(StepState(steps=RULES.max_steps, finished=True), RULES) == SUCCESS
    assert TIME_LIMIT in TRUNCATIONS and SUCCESS not in TRUNCATIONS


def test_a_failure_beats_success():
    assert termination(StepState(collisions=1, finished=True), RULES) == "collision"
    assert termination(StepState(collisions=1, lateral=5.0, slow_seconds=9.0), RULES) == "collision"
