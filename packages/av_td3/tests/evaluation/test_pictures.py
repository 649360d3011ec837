"""Other pictures in place of the camera's: which the agent gets, and when."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from av_td3.config import Pictures
from av_td3.evaluation.pictures import ReplacedPictures
from av_td3.evaluation.rollout import evaluate

from .fake_env import FakeDrivingEnv


class Noting:
    """Writes down the pictures that it is shown.  The fake environment numbers them by the step."""

    def __init__(self):
        self.seen, self.seeds, self.infos = [], [], 0

    def reset(self, seed):
        self.seeds.append(seed)
        self.seen.append([])

    def watch(self, info):
        self.infos += 1

    def __call__(self, observation):
        assert observation["image"].shape == (4, 84, 84) and observation["vector"].dtype == np.float32
        self.seen[-1].append(int(observation["image"][0, 0, 0]))
        return np.array([0.0, 0.5], np.float32)


def driven(kind, episodes=2):
    env, driver = FakeDrivingEnv(length=12.0), Noting()
    env.max_steps = 40
    evaluate(env, ReplacedPictures(driver, kind), episodes, 5)
    assert driver.seeds == [5, 6][:episodes] and driver.infos > 2
    return driver.seen


def test_what_each_kind_shows():
    camera = driven("camera")
    assert camera[0] == list(range(len(camera[0])))
    assert set(driven("black")[0]) == {0}
    assert {tuple(set(e)) for e in driven("frozen")} == {(0,)}
    first, second = driven("other")
    assert set(first) == {0}, "there was no other episode before the first"
    assert second == [k % len(first) for k in range(len(second))]


def test_frozen_is_the_first_picture_of_each_episode():
    policy = ReplacedPictures(lambda o: o["image"], "frozen")
    for start in (10, 20):
        policy.reset(start)
        shown = [policy({"image": np.full((1, 2, 2), start + k, np.uint8)}) for k in range(3)]
        assert [int(image[0, 0, 0]) for image in shown] == [start] * 3


def test_an_array_that_the_environment_uses_again_does_no_harm():
    policy, image = ReplacedPictures(lambda o: o["image"].copy(), "frozen"), np.zeros((1, 2, 2), np.uint8)
    policy.reset(0)
    policy({"image": image})
    image[:] = 9
    assert policy({"image": image}).max() == 0


def test_shuffled_shows_real_pictures_at_the_wrong_time_and_the_same_ones_again():
    once, again = driven("shuffled"), driven("shuffled")
    assert once == again
    steps = np.arange(len(once[0]))
    assert (np.array(once[0]) <= steps).all() and len(set(once[0])) > len(steps) // 3
    assert (np.array(once[0]) != steps).mean() > 0.6


@pytest.mark.parametrize("kind", get_args(Pictures))
def test_a_plain_function_is_a_policy_too(kind):
    env = FakeDrivingEnv(length=12.0)
    env.max_steps = 5
    evaluate(env, ReplacedPictures(lambda _: np.array([0.0, 1.0], np.float32), kind), 1, 0)
