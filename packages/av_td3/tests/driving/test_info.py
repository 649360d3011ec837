"""``info``: the documented keys are those that the environment gives."""

import math
from typing import get_type_hints

import numpy as np
import pytest

from av_td3.config import STEP_SECONDS, EnvConfig
from av_td3.driving.comfort import comfortable
from av_td3.driving.info import RewardComponents, StepInfo
from av_td3.driving.meter import Contact, EpisodeMeter, Reading
from av_td3.driving.reward import no_reward, total
from av_td3.driving.route import Route
from av_td3.driving.state import StepState
from rundoctor.signals.replay import COMPONENTS
from tools import info_table

CONFIG = EnvConfig()


@pytest.fixture
def meter():
    """An episode on a straight route along x, 100 m long, that begins at rest."""
    route = Route(np.array([[0.0, 0.0], [150.0, 0.0]]), 100.0, np.full(2, 3.5), (0, 0, 0, 0))
    return EpisodeMeter(CONFIG, route, Reading(0.0, 0.0, 0.0, (0.0, 0.0)))


def reading(x=0.0, speed=0.0, **rest):
    return Reading(x, rest.pop("y", 0.0), rest.pop("yaw", 0.0), (speed, 0.0), **rest)


def test_the_tables_in_the_docs_are_those_that_the_code_gives():
    page = info_table.PAGE.read_text()
    assert page == info_table.updated(page), "run: python -m tools.info_table"


def test_every_key_of_every_step_is_documented_and_given(meter):
    assert set(meter.info(no_reward(), frame=0, npc=0)) == StepInfo.__required_keys__
    assert StepInfo.__optional_keys__ == {"termination", "weather", "fault"}
    assert tuple(get_type_hints(RewardComponents)) == COMPONENTS == tuple(no_reward())


def test_the_reward_is_the_sum_of_its_components():
    parts = {name: 0.1 * 3**k for k, name in enumerate(COMPONENTS)}
    assert total(parts) == pytest.approx(sum(parts.values()))


def test_motion_is_measured_between_readings(meter):
    assert meter.state.acceleration == meter.state.jerk == 0.0
    first = meter.update(reading(x=0.1, speed=2.0), steer=0.25)
    assert first.acceleration == pytest.approx(2.0 / STEP_SECONDS) and first.jerk == 0.0
    assert first.steer_change == 0.25 and first.new_ground == pytest.approx(0.1)
    second = meter.update(reading(x=0.2, speed=2.0, yaw=0.1), steer=-0.25)
    assert second.acceleration == 0.0 and second.jerk == pytest.approx(2.0 / STEP_SECONDS**2)
    assert second.lateral_acceleration == pytest.approx(2.0 * 0.1 / STEP_SECONDS)
    assert second.steer_change == 0.5 and second.heading_error == pytest.approx(0.1)
    assert meter.info(no_reward(), frame=2, npc=0)["distance_m"] == pytest.approx(0.1)


def test_a_contact_that_lasts_is_one_collision_and_a_new_one_is_another(meter):
    collided = []
    for frame in range(40):
        contacts = (Contact(frame, 7),) if frame < 20 or frame >= 35 else ()
        contacts += (Contact(frame, 8),) if frame == 3 else ()
        collided.append(meter.update(reading(contacts=contacts), 0.0).collisions)
    assert [k for k, count in enumerate(collided) if count] == [0, 3, 35] and meter.collisions == 3


def test_collisions_are_told_apart_by_what_was_hit(meter):
    hits = [Contact(3, 7, "vehicle"), Contact(3, 8, "vehicle"), Contact(3, 9, "walker"), Contact(3, 0)]
    meter.update(reading(contacts=tuple(hits)), 0.0)
    info = meter.info(no_reward(), frame=1, npc=2)
    assert (info["collisions"], info["vehicle_collisions"], info["walker_collisions"]) == (4, 2, 1)


def test_acceleration_is_told_apart_by_its_direction(meter):
    """Pointing along y: a change of velocity along y is longitudinal, one along x is not."""
    meter.update(Reading(0.0, 0.0, math.pi / 2, (0.0, 0.0)), 0.0)
    state = meter.update(Reading(0.0, 0.0, math.pi / 2, (0.3, -0.1)), 0.0)
    assert state.longitudinal_acceleration == pytest.approx(-0.1 / STEP_SECONDS)
    assert state.longitudinal_jerk == pytest.approx(-0.1 / STEP_SECONDS**2)
    turned = meter.update(Reading(0.0, 0.0, math.pi / 2 + 0.02, (0.3, -0.1)), 0.0)
    assert turned.yaw_rate == pytest.approx(0.02 / STEP_SECONDS)
    info = meter.info(no_reward(), frame=3, npc=0)
    assert info["yaw_rate"] == turned.yaw_rate
    assert info["longitudinal_acceleration"] == pytest.approx(0.0)
    assert info["lateral_acceleration"] == turned.lateral_acceleration


@pytest.mark.parametrize(
    "motion, fine",
    [
        ({}, True),
        ({"jerk": 8.3, "longitudinal_jerk": -4.1, "longitudinal_acceleration": -4.0}, True),
        ({"lateral_acceleration": 4.8, "yaw_rate": -0.9, "longitudinal_acceleration": 2.3}, True),
        ({"jerk": 8.4}, False),
        ({"longitudinal_jerk": -4.2}, False),
        ({"longitudinal_acceleration": -4.1}, False),
        ({"longitudinal_acceleration": 2.5}, False),
        ({"lateral_acceleration": -4.9}, False),
        ({"yaw_rate": -0.96}, False),
    ],
)
def test_the_comfort_bounds(motion, fine):
    assert comfortable(StepState(**motion)) is fine


def test_the_ticks_of_a_step_are_comfortable_in_part(meter):
    assert meter.info(no_reward(), frame=0, npc=0)["comfortable"] == 1.0
    meter.update(reading(speed=0.0), 0.0)
    meter.update(reading(speed=0.0), 0.0, new_step=False)
    assert meter.info(no_reward(), frame=2, npc=0)["comfortable"] == 1.0
    meter.update(reading(speed=0.0), 0.0)
    meter.update(reading(speed=1.0), 0.0, new_step=False)  # 20 m/s^2
    assert meter.info(no_reward(), frame=4, npc=0)["comfortable"] == 0.5


def test_what_happened_before_the_first_observation_does_not_count():
    route = Route(np.array([[0.0, 0.0], [150.0, 0.0]]), 100.0, np.full(2, 3.5), (0, 0, 0, 0))
    meter = EpisodeMeter(CONFIG, route, reading(contacts=(Contact(1, 7),), lane_invasions=2))
    info = meter.info(no_reward(), frame=0, npc=0)
    assert info["collisions"] == info["lane_invasions"] == 0


@pytest.mark.parametrize("held_up", [{"at_red_light": True}, {"obstacle_distance": 9.0}])
def test_standing_counts_only_when_nothing_holds_the_car_up(meter, held_up):
    assert meter.update(reading(), 0.0).slow_seconds == pytest.approx(STEP_SECONDS)
    assert meter.update(reading(), 0.0).slow_seconds == pytest.approx(2 * STEP_SECONDS)
    waiting = meter.update(reading(**held_up), 0.0)
    assert waiting.waiting and waiting.slow_seconds == 0.0


def test_steps_off_the_road_and_markings_are_totals(meter):
    for k in range(4):
        meter.update(reading(x=float(k), y=3.0, lane_invasions=int(k == 1)), 0.0)
    info = meter.info(no_reward(), frame=4, npc=0)
    assert (info["off_road_steps"], info["lane_invasions"]) == (4, 1)
    assert info["lateral_deviation_m"] == pytest.approx(3.0) and math.isinf(info["obstacle_distance_m"])
