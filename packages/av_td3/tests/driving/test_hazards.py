"""Who is in the way on the path ahead.  The path runs along x; the car is at its start and 4.8 m long."""

import math

import numpy as np
import pytest

from av_td3.config import EnvConfig
from av_td3.driving.hazards import Hazard, hazard, pressing
from av_td3.driving.meter import EpisodeMeter, Reading
from av_td3.driving.reward import no_reward
from av_td3.driving.route import Route

FRONT, TARGET = 2.4, 8.3
PATH = np.stack([np.arange(1.0, 41.0), np.zeros(40)], 1)


def other(x, y, speed=0.0, yaw=0.0, turn=0.0, length=4.6, width=2.0):
    """A vehicle; yaw and turn in degrees (a second)."""
    a = math.radians(yaw)
    return [
        x, y, speed * math.cos(a), speed * math.sin(a), a, math.radians(turn), length / 2, width / 2
    ]  # fmt: skip


def look(*others, speed=8.0):
    return hazard(PATH, 1.0, speed, FRONT, TARGET, np.array(others, float).reshape(-1, 8))


def test_nobody_and_who_keeps_to_another_lane_is_no_hazard():
    assert look() == Hazard()
    assert look(other(15, 3.5), other(20, -3.5, 8.0, 180.0), other(10, 3.5, 8.0)) == Hazard()


@pytest.mark.parametrize("speed", [0.0, 5.0])
def test_who_is_ahead_is_at_the_distance_of_its_rear_and_keeps_its_speed(speed):
    found = look(other(20, 0.3, speed))
    assert found.distance == pytest.approx(20 - 2.3 - FRONT, abs=1.0)
    assert found.speed == pytest.approx(speed, abs=0.1)


def test_the_path_counts_and_not_what_is_straight_ahead():
    bend = np.stack([20 * np.sin(PATH[:, 0] / 20), 20 - 20 * np.cos(PATH[:, 0] / 20)], 1)
    straight_on, in_the_bend = np.array([other(25.0, 0.0)]), np.array([other(*bend[20], yaw=60.0)])
    assert hazard(bend, 1.0, 8.0, FRONT, TARGET, straight_on) == Hazard()
    assert 12.0 < hazard(bend, 1.0, 8.0, FRONT, TARGET, in_the_bend).distance < 19.0


def test_who_follows_the_car_is_left_to_keep_its_distance():
    assert look(other(-8, 0.0, 12.0), speed=3.0) == Hazard()


def test_who_will_cross_when_the_car_comes_is_a_hazard_before_it_is_there():
    found = look(other(20, -12, 6.0, yaw=90.0))  # on the path in 2 seconds, as the car is
    assert 10.0 < found.distance < 18.0 and found.speed == pytest.approx(0.0, abs=0.1)
    assert look(other(20, -12, 0.0, yaw=90.0)) == Hazard()  # it waits
    assert look(other(20, 6, 6.0, yaw=90.0)) == Hazard()  # it has crossed
    assert look(other(36, -6, 6.0, yaw=90.0), speed=4.0) == Hazard()  # it is gone before the car comes


def test_who_turns_away_from_the_path_will_not_be_on_it():
    assert look(other(20, -10, 6.0, yaw=90.0)).distance < 40.0
    assert look(other(20, -10, 6.0, yaw=90.0, turn=60.0)) == Hazard()


def test_oncoming_traffic_that_seems_to_cut_a_bend_is_not_braked_for_from_afar():
    assert look(other(35, 4.0, 8.0, yaw=188.0)) == Hazard()


def test_a_crossing_that_cannot_be_avoided_by_braking_is_left():
    assert look(other(5.0, -5.5, 8.0, yaw=90.0), speed=8.0) == Hazard()
    assert look(other(5.0, -5.5, 8.0, yaw=90.0), speed=1.0).distance < 5.0


def test_the_most_pressing_counts():
    slow_and_near, fast_and_nearer = other(25, 0.0), other(20, 0.0, 8.0)
    found = look(fast_and_nearer, slow_and_near)
    assert found.speed == 0.0 and found == look(slow_and_near)
    assert pressing(Hazard()) == math.inf > pressing(Hazard(20.0, 0.0)) > pressing(Hazard(10.0, 0.0))


def test_the_meter_reports_it_and_a_car_that_it_holds_up_waits():
    route = Route(np.array([[0.0, 0.0], [150.0, 0.0]]), 100.0, np.full(2, 3.5), (0, 0, 0, 0))
    free = Reading(0.0, 0.0, 0.0, (0.0, 0.0))
    meter = EpisodeMeter(EnvConfig(), route, free, front=FRONT)
    assert math.isinf(meter.info(no_reward(), frame=0, npc=0)["hazard_distance_m"])
    held_up = free._replace(others=np.array([other(10.0, 0.0, 1.0)]))
    assert not meter.update(free, 0.0).waiting and meter.update(held_up, 0.0).waiting
    info = meter.info(no_reward(), frame=0, npc=1)
    assert info["hazard_distance_m"] == pytest.approx(5.3, abs=1.0)
    assert info["hazard_speed_kmh"] == pytest.approx(3.6)
