"""Films: decoded again with another reader, discarded when they should be."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest

from av_td3.evaluation.baselines import SmoothRandom
from av_td3.evaluation.rollout import evaluate
from av_td3.evaluation.video import FPS, PANEL, WIDTH, VideoError, VideoRecorder, VideoWriter, compose

from .fake_env import FakeDrivingEnv

INFO = {"speed_kmh": 12.0, "route_completion": 0.5}


def gray(level: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_frames_come_back(tmp_path):
    path = tmp_path / "new" / "film.mp4"
    with VideoWriter(path, fps=20) as writer:
        for k in range(30):
            writer.add(gray(8 * k))
    frames = iio.imread(path, plugin="FFMPEG")
    assert frames.shape == (30, 64, 96, 3)
    assert frames[:, 32, 48, 1].astype(int) == pytest.approx([8 * k for k in range(30)], abs=6)
    meta = iio.immeta(path, plugin="FFMPEG")
    assert meta["fps"] == 20 and meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert list(path.parent.iterdir()) == [path]


def test_odd_sizes_lose_a_pixel(tmp_path):
    with VideoWriter(tmp_path / "film.mp4") as writer:
        for _ in range(3):
            writer.add(gray(100, 65, 97))
    assert iio.imread(tmp_path / "film.mp4", plugin="FFMPEG").shape == (3, 64, 96, 3)


def test_an_exception_leaves_no_file_and_no_process(tmp_path):
    writer = VideoWriter(tmp_path / "film.mp4")
    with pytest.raises(KeyboardInterrupt), writer:
        writer.add(gray(1))
        process = writer._ffmpeg
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [] and process.returncode is not None


def test_a_film_appears_only_when_complete(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the last one")
    with VideoWriter(path) as writer:
        writer.add(gray(1))
        assert path.read_bytes() == b"the last one"
    assert path.read_bytes()[4:8] == b"ftyp"


def test_no_frames_no_file(tmp_path):
    assert VideoWriter(tmp_path / "film.mp4").close() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), gray(0, 66)]
)
def test_a_frame_that_does_not_fit_is_refused(tmp_path, frame):
    with pytest.raises(VideoError, match="frame"), VideoWriter(tmp_path / "film.mp4") as writer:
        writer.add(gray(0))
        writer.add(frame)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(VideoError, match="cannot write"),
        VideoWriter(tmp_path / "file" / "film.mp4") as writer,
    ):
        writer.add(gray(0))


def test_a_full_disk_is_an_error_and_no_half_film(tmp_path):
    writer = VideoWriter(tmp_path / "film.mp4")
    writer._partial.symlink_to("/dev/full")
    rng = np.random.default_rng(0)
    with pytest.raises(VideoError, match="cannot write"):
        for _ in range(40):
            writer.add(rng.integers(0, 256, (64, 96, 3), np.uint8))
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_composed_frame_shows_picture_view_and_bars():
    view = np.zeros((4, 84, 84), np.uint8)
    view[-1] = 200
    picture = np.full((270, 480, 3), (10, 20, 200), np.uint8)
    action = np.array([1.0, -1.0], np.float32)
    frame = compose(picture, {"image": view}, action, 0.5, 3.0, INFO, "agent")
    assert frame.shape == (360 + PANEL, WIDTH, 3)
    assert frame[300, 100].tolist() == [10, 20, 200]
    assert frame[90, WIDTH - 80].tolist() == [200, 200, 200]  # the newest of the stack
    panel = frame[360:]
    assert (panel[1, : WIDTH // 2] == panel[1, 0]).all() and (panel[1, 330] != panel[1, 0]).any()
    left = compose(picture, {"image": view}, -action, 0.5, 3.0, INFO, "agent")
    assert (left[360:] != panel).any()


def test_only_the_episodes_that_count_are_filmed(tmp_path):
    env = FakeDrivingEnv()
    env.max_steps, env.faults = 25, {2: 1}
    recorder = VideoRecorder(tmp_path / "episode-{episode}.mp4", episodes={0, 1}, title="smooth", worst=False)
    result = evaluate(env, SmoothRandom(), 3, 1, record=recorder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["episode-0.mp4", "episode-1.mp4"]
    for path, episode in zip(recorder.files, result.episodes, strict=False):
        frames = iio.imread(path, plugin="FFMPEG")
        assert len(frames) == episode.steps + FPS, "the last picture stands for a second"
        changes = np.abs(np.diff(frames[:, ::8, ::8].astype(int), axis=0)).mean(axis=(1, 2, 3))
        assert changes[1 - FPS :].max() < 0.3 < changes[: -FPS - 1].mean()


def test_the_worst_episode_is_driven_again_and_filmed(tmp_path):
    env, said = FakeDrivingEnv(), []
    env.max_steps = 120
    recorder = VideoRecorder(tmp_path / "final.mp4", title="smooth", on_error=said.append)
    result = evaluate(env, SmoothRandom(), 5, 1, record=recorder)
    worst = min(result.episodes, key=lambda e: (e.route_completion, e.episode_return))
    assert worst is not result.episodes[0], "or this test shows nothing"
    assert env.seeds == [1, 2, 3, 4, 5, worst.seed] and env.recorded == [True, *[False] * 4, True]
    assert [p.name for p in recorder.files] == ["final.mp4", "final-worst.mp4"] and said == []
    assert len(iio.imread(recorder.files[1], plugin="FFMPEG")) == worst.steps + FPS


def test_a_first_episode_that_is_the_worst_is_not_filmed_twice(tmp_path):
    env = FakeDrivingEnv()
    env.max_steps = 5
    recorder = VideoRecorder(tmp_path / "final.mp4")
    evaluate(env, SmoothRandom(), 1, 1, record=recorder)
    assert recorder.files == [tmp_path / "final.mp4"] and env.seeds == [1]


def test_a_simulator_that_does_not_repeat_an_episode_is_said(tmp_path):
    class Moody(FakeDrivingEnv):
        def reset(self, *, seed=None, options=None):
            self.max_steps = 30 - len(self.seeds)
            return super().reset(seed=seed, options=options)

    said = []
    recorder = VideoRecorder(tmp_path / "final.mp4", on_error=said.append)
    evaluate(Moody(), SmoothRandom(), 3, 1, record=recorder)
    assert len(recorder.files) == 2 and len(said) == 1 and "does not repeat" in said[0]


def test_a_film_that_fails_need_not_end_the_evaluation(tmp_path):
    class Blind(FakeDrivingEnv):
        def render(self):
            return None

    env, said = Blind(), []
    env.max_steps = 5
    recorder = VideoRecorder(tmp_path / "film.mp4", on_error=said.append)
    assert len(evaluate(env, SmoothRandom(), 2, 0, record=recorder).episodes) == 2
    assert len(said) == 1 and "rgb_array" in said[0] and recorder.files == []
    with pytest.raises(VideoError, match="rgb_array"):
        evaluate(env, SmoothRandom(), 1, 0, record=VideoRecorder(tmp_path / "film.mp4"))
    assert list(tmp_path.iterdir()) == []
