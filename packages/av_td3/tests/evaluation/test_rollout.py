"""What evaluate promises: same routes for everybody, faults never scored, records that add up."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from av_td3.config import STEP_SECONDS
from av_td3.evaluation.baselines import RandomPolicy, SmoothRandom, Stationary
from av_td3.evaluation.rollout import Evaluation, EvaluationError, evaluate

from .fake_env import FakeDrivingEnv


def straight(observation):
    return np.array([0.0, 1.0], np.float32)


def test_every_agent_drives_the_same_seeds():
    env = FakeDrivingEnv()
    evaluate(env, straight, 3, 100)
    evaluate(env, RandomPolicy(), 3, 100)
    assert env.seeds == [100, 101, 102, 100, 101, 102]


def test_the_same_agent_gives_the_same_evaluation():
    a, b = (evaluate(FakeDrivingEnv(), SmoothRandom(), 3, 7) for _ in range(2))
    assert a.episodes == b.episodes


def test_an_episode_of_a_random_agent_does_not_depend_on_those_before():
    whole = evaluate(FakeDrivingEnv(), SmoothRandom(), 3, 7)
    last = evaluate(FakeDrivingEnv(), SmoothRandom(), 1, 9)
    assert whole.episodes[2] == last.episodes[0]


def test_a_record_adds_up():
    rows = []

    class Watching(FakeDrivingEnv):
        def step(self, action):
            result = super().step(action)
            rows.append((result[1], result[4]))
            return result

    env = Watching()
    episode = evaluate(env, SmoothRandom(), 1, 3).episodes[0]
    infos = [info for _, info in rows]
    assert episode.seed == 3 and episode.steps == len(rows)
    assert episode.episode_return == pytest.approx(sum(reward for reward, _ in rows))
    assert episode.distance_km == pytest.approx(sum(i["distance_m"] for i in infos) / 1000)
    # Distance and mean speed are two views of one drive.
    hours = episode.steps * STEP_SECONDS / 3600
    assert episode.mean_speed_kmh * hours == pytest.approx(episode.distance_km)
    assert episode.mean_abs_jerk == pytest.approx(np.mean([abs(i["jerk"]) for i in infos]))
    assert episode.mean_abs_lateral_deviation_m == pytest.approx(
        np.mean([abs(i["lateral_deviation_m"]) for i in infos])
    )
    assert episode.lane_invasions == infos[-1]["lane_invasions"] > 0
    assert episode.termination == infos[-1]["termination"] == "off_road"
    assert episode.off_road_steps == infos[-1]["off_road_steps"] > 0
    assert episode.route_completion == infos[-1]["route_completion"] < 1 and not episode.success
    assert episode.min_time_to_collision_s is None and episode.low_ttc_steps == 0


def test_what_is_ahead_is_measured():
    env = FakeDrivingEnv()
    env.obstacle_at = 20.0
    episode = evaluate(env, straight, 1, 3).episodes[0]
    assert episode.termination == "collision" and episode.collisions == 1
    assert episode.min_time_to_collision_s < 0.1
    assert 0 < episode.low_ttc_steps < episode.steps


def test_who_stands_is_not_exposed():
    class Oncoming(FakeDrivingEnv):
        def _info(self, gained, acceleration):
            return super()._info(gained, acceleration) | {"time_to_collision_s": 0.5}

    env = Oncoming()
    env.max_steps = 20
    still = evaluate(env, Stationary(), 1, 3).episodes[0]
    assert still.min_time_to_collision_s is None and still.low_ttc_steps == 0
    moving = evaluate(env, straight, 1, 3).episodes[0]
    assert moving.min_time_to_collision_s == 0.5 and 0 < moving.low_ttc_steps < moving.steps


def test_steer_change_is_the_policys():
    signs = iter([1, -1] * 1000)

    def jerky(observation):
        return np.array([0.5 * next(signs), 0.1], np.float32)

    assert evaluate(FakeDrivingEnv(), jerky, 1, 3).episodes[0].mean_abs_steer_change == pytest.approx(1.0)


def test_a_simulator_fault_is_driven_again_and_not_scored():
    env = FakeDrivingEnv()
    env.faults = {101: 2}
    result = evaluate(env, straight, 3, 100)
    assert env.seeds == [100, 101, 101, 101, 102]
    assert result.simulator_faults == 2 and result.abandoned_seeds == ()
    assert [e.attempts for e in result.episodes] == [1, 3, 1]
    assert "simulator_fault" not in {e.termination for e in result.episodes}
    clean = evaluate(FakeDrivingEnv(), straight, 3, 100)
    assert [e.episode_return for e in clean.episodes] == [e.episode_return for e in result.episodes]


def test_an_episode_that_always_fails_is_missing_not_zero():
    env = FakeDrivingEnv()
    env.faults = {101: 99}
    result = evaluate(env, straight, 3, 100, max_attempts=2)
    assert result.abandoned_seeds == (101,) and result.simulator_faults == 2
    assert [e.seed for e in result.episodes] == [100, 102]


def test_nothing_measured_is_an_error():
    env = FakeDrivingEnv()
    env.faults = {5: 99}
    with pytest.raises(EvaluationError, match="nothing was measured"):
        evaluate(env, straight, 1, 5)


@pytest.mark.parametrize("action", [[np.nan, 0.0], [0.0, np.inf]])
def test_a_non_finite_action_never_reaches_the_simulator(action):
    env = FakeDrivingEnv()
    with pytest.raises(EvaluationError, match=r"step 0 of seed 0: action .* is not finite"):
        evaluate(env, lambda _: np.array(action, np.float32), 1, 0)
    assert env.steps == 0


def test_an_action_of_the_wrong_shape_is_named():
    with pytest.raises(EvaluationError, match=r"has shape \(2,\).*has shape \(1, 2\)"):
        evaluate(FakeDrivingEnv(), lambda _: np.zeros((1, 2)), 1, 0)


def test_policies_are_told_of_episodes_and_info():
    class Curious:
        def __init__(self):
            self.resets, self.watched = [], 0

        def reset(self, seed):
            self.resets.append(seed)

        def watch(self, info):
            self.watched += 1

        def __call__(self, observation):
            return np.zeros(2, np.float32)

    env, policy = FakeDrivingEnv(), Curious()
    env.max_steps = 10
    seen = []
    evaluate(env, policy, 2, 40, on_episode=seen.append)
    assert policy.resets == [40, 41] and policy.watched == 2 * 11
    assert [e.seed for e in seen] == [40, 41]
    assert {e.termination for e in seen} == {"time_limit"}


def test_a_recorder_learns_which_drives_count():
    class Recorder:
        def __init__(self):
            self.log, self.again = [], None

        def wants(self, index):
            return index == 1

        def begin(self, index, env, observation):
            self.log.append(("begin", index))

        def step(self, env, observation, action, reward, info):
            pass

        def end(self, record):
            self.log.append(("end", None if record is None else record.seed))

        def wants_again(self, episodes):
            return self.again

    env, recorder = FakeDrivingEnv(), Recorder()
    env.faults = {11: 1}
    evaluate(env, straight, 2, 10, record=recorder)
    assert recorder.log == [
        *(("begin", 0), ("end", 10)),
        *(("begin", 1), ("end", None)),
        *(("begin", 1), ("end", 11)),
    ]
    assert env.recorded == [False, True, True]  # pictures are asked for only where they are wanted

    recorder.log, recorder.again, env.faults = [], 0, {}
    again = evaluate(env, straight, 2, 10, record=recorder)
    assert [entry for entry in recorder.log if entry[0] == "end"] == [("end", 10), ("end", 11), ("end", 10)]
    assert [episode.seed for episode in again.episodes] == [10, 11], "driven again, not scored again"

    def broken(observation):
        raise RuntimeError("policy")

    with pytest.raises(RuntimeError, match="policy"):
        evaluate(env, broken, 1, 10, record=recorder)
    assert recorder.log[-1] == ("end", None)


def test_an_evaluation_survives_json():
    result = evaluate(FakeDrivingEnv(), Stationary(), 2, 0, name="still")
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert Evaluation.from_dict(json.loads(text)) == result
    with pytest.raises(EvaluationError, match="not an evaluation"):
        Evaluation.from_dict({"name": "x"})


@pytest.mark.slow
def test_nothing_here_imports_torch_or_carla():
    code = (
        "import sys, av_td3.evaluation.rollout, av_td3.evaluation.report, av_td3.evaluation.video;"
        "import av_td3.evaluation.baselines; sys.exit(bool({'torch', 'carla'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
