"""The real thing: baselines through the real client on minicarla."""

from __future__ import annotations

import contextlib
import hashlib

import imageio.v3 as iio
import pytest

from av_td3.config import EnvConfig, RouteConfig, SimulatorConfig
from av_td3.evaluation.baselines import ClassicalDriver, SmoothRandom, Stationary
from av_td3.evaluation.metrics import compare
from av_td3.evaluation.rollout import evaluate
from av_td3.evaluation.video import FPS, VideoRecorder
from av_td3.supervision.supervised import SupervisedEnv

CONFIG = EnvConfig(
    simulator=SimulatorConfig(npc=30), route=RouteConfig(min_length_m=60.0, max_length_m=100.0)
)


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    made = SupervisedEnv(CONFIG, "held_out", log_dir=tmp_path_factory.mktemp("logs"), render_mode="rgb_array")
    with contextlib.closing(made):
        yield made


class Watched:
    """A driver, and for each episode a digest of all that it saw."""

    def __init__(self, driver):
        self.driver, self.watch = driver, driver.watch
        self._digests = {}

    def reset(self, seed):
        self.driver.reset(seed)
        self._seen = self._digests[seed] = hashlib.sha256()

    def __call__(self, observation):
        self._seen.update(observation["image"].tobytes() + observation["vector"].tobytes())
        return self.driver(observation)

    def digest(self, seed):
        return self._digests[seed].hexdigest()


@pytest.fixture(scope="module")
def watched():
    return Watched(ClassicalDriver(CONFIG))


@pytest.fixture(scope="module")
def classical(env, watched):
    return evaluate(env, watched, 4, 1_000_000, name="classical")


@pytest.fixture(scope="module")
def random(env, tmp_path_factory):
    film = VideoRecorder(
        tmp_path_factory.mktemp("film") / "{episode}.mp4", episodes={1}, title="random", worst=False
    )
    return evaluate(env, SmoothRandom(), 4, 1_000_000, record=film, name="random"), film


@pytest.mark.slow
def test_the_classical_driver_completes_routes_among_traffic(classical):
    ends = [e.termination for e in classical.episodes]
    # It sees ahead only: who drives into its side is not its fault, anything else would be.
    assert ends.count("success") >= 2 and set(ends) <= {"success", "collision"}
    assert max(e.mean_abs_lateral_deviation_m for e in classical.episodes) < 0.3
    assert len({e.route for e in classical.episodes}) > 1


@pytest.mark.slow
def test_random_driving_does_not_and_the_table_says_so(classical, random):
    result, _ = random
    assert [e.route for e in result.episodes] == [e.route for e in classical.episodes]
    assert compare({"classical": classical, "random": result}).clearly_better("random")


def test_an_episode_is_the_same_whoever_drove_before(env, classical, watched):
    """Traffic included: the routes' difficulty cancels in a paired comparison only if it is the same."""
    evaluate(env, Stationary(), 1, 77)
    second = Watched(ClassicalDriver(CONFIG))
    again = evaluate(env, second, 1, 1_000_001)
    assert again.episodes == classical.episodes[1:2]
    assert second.digest(1_000_001) == watched.digest(1_000_001)


def test_the_film_shows_the_whole_episode(random):
    result, film = random
    (path,) = film.files
    frames = iio.imread(path, plugin="FFMPEG")[:, :360]
    assert len(frames) == result.episodes[1].steps + FPS
    assert frames[0].std() > 20  # a picture, not a plain field
    assert (frames[0] != frames[-1]).mean() > 0.3  # and it moves
