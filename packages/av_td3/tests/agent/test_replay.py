"""The replay: a sampled stack is the stack that was seen, wherever it is sampled."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from av_td3.agent import replay as replay_module
from av_td3.agent.device_replay import DeviceReplay
from av_td3.agent.replay import Replay, ReplayMemoryError

STACK, SIZE = 4, 4


class Recorder:
    """Drives a replay with recognisable frames and remembers every transition it should hold."""

    def __init__(
        self, capacity: int, n_step: int = 1, gamma: float = 0.9, replay: Replay | None = None, env: int = 0
    ) -> None:
        if replay is None:
            replay = Replay(capacity, (STACK, SIZE, SIZE), 3, 2, gamma, n_step)
        self.replay = replay
        self.env, self.count = env, 10_000 * env
        self.stack: deque[np.ndarray] = deque(maxlen=STACK)
        self.episodes: list[list[tuple]] = []  # (obs, action, reward, terminated, next obs)
        self.observation: dict[str, np.ndarray] = {}

    def _frame(self) -> np.ndarray:
        self.count += 1
        return np.full((SIZE, SIZE), self.count % 251, np.uint8)

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": np.stack(self.stack), "vector": np.full(3, self.count, np.float32)}

    def begin(self) -> None:
        self.stack.extend([self._frame()] * STACK)
        self.observation = self._observe()
        self.replay.begin(self.observation, self.env)
        self.episodes.append([])

    def step(self, terminated: bool = False, truncated: bool = False) -> None:
        action = np.full(2, self.count / 1000, np.float32)
        reward = float(self.count)
        self.stack.append(self._frame())
        following = self._observe()
        self.replay.add(action, reward, terminated, truncated, following, env=self.env)
        self.episodes[-1].append((self.observation, action, reward, terminated, following))
        self.observation = following


def run(recorder: Recorder, lengths: list[tuple[int, str]]) -> None:
    for length, end in lengths:
        recorder.begin()
        for t in range(length):
            last = t == length - 1
            recorder.step(terminated=last and end == "terminated", truncated=last and end == "truncated")
        if end == "broken":
            recorder.replay.break_off()


EPISODES = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from(["terminated", "truncated", "broken"])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(lengths=EPISODES, capacity=st.integers(12, 40), n_step=st.integers(1, 3))
def test_every_readable_transition_is_one_that_happened(lengths, capacity, n_step):
    recorder = Recorder(capacity, n_step)
    run(recorder, lengths)
    slots = check_readable([recorder])
    # Nothing is lost: all transitions that still fit, less those whose stack the seam cut.
    total = sum(len(e) for e in recorder.episodes)
    slots_written = total + len(recorder.episodes)
    if slots_written <= capacity:
        assert slots == total == recorder.replay.transitions
    else:
        assert slots >= recorder.replay.transitions - (STACK - 1)


def check_readable(recorders: list[Recorder]) -> int:
    """Every transition that can be read is one that happened in that environment; how many there are."""
    replay = recorders[0].replay
    n_step = replay.n_step
    slots = np.flatnonzero(replay.valid(np.arange(replay.capacity)))
    truth = {}
    for episode in [episode for recorder in recorders for episode in recorder.episodes]:
        for t, (obs, action, *_rest) in enumerate(episode):
            reward, discount, following = 0.0, 1.0, obs
            for _, _, r, terminated, after in episode[t : t + n_step]:
                reward += discount * r
                discount *= replay.gamma
                following = after
                if terminated:
                    discount = 0.0
            truth[float(obs["vector"][0])] = (obs, action, reward, discount, following)
    for slot in slots:
        sample = replay.at(np.array([slot]))
        obs, action, reward, discount, following = truth[float(sample.vector[0, 0])]
        np.testing.assert_array_equal(sample.image[0], obs["image"])
        np.testing.assert_array_equal(sample.next_image[0], following["image"])
        np.testing.assert_array_equal(sample.next_vector[0], following["vector"])
        np.testing.assert_array_equal(sample.action[0], action)
        assert sample.reward[0] == pytest.approx(reward, rel=1e-6)
        assert sample.discount[0] == pytest.approx(discount, rel=1e-6)
    return len(slots)


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("aaaaaatbe")), min_size=1, max_size=120),
    capacity=st.integers(36, 70),
    n_step=st.integers(1, 3),
)
def test_the_transitions_of_several_environments_are_kept_apart(moves, capacity, n_step):
    replay = Replay(capacity, (STACK, SIZE, SIZE), 3, 2, 0.9, n_step, envs=3)
    recorders = [Recorder(capacity, replay=replay, env=env) for env in range(3)]
    driving = [False] * 3
    added = [0] * 3
    for env, what in moves:
        if not driving[env]:
            recorders[env].begin()
            driving[env] = True
        elif what == "b":
            replay.break_off(env)
            driving[env] = False
        else:
            recorders[env].step(terminated=what == "t", truncated=what == "e")
            driving[env] = what == "a"
            added[env] += 1
    assert len(replay) <= replay.used <= replay.capacity <= capacity
    readable = check_readable(recorders)
    ring = replay.capacity // 3
    written = [sum(len(e) + 1 for e in r.episodes) for r in recorders]
    if max(written) <= ring:
        assert readable == sum(added) == replay.transitions
    assert replay.can_sample() == (readable > 0)
    if readable:
        assert replay.valid(replay.sample(200, np.random.default_rng(0)).index).all()
    other = Replay(capacity, (STACK, SIZE, SIZE), 3, 2, 0.9, n_step, envs=3)
    saved = [{k: v.copy() for k, v in replay.segment(n).items()} for n in range(replay.segments)]
    restore(other, saved, replay.cursor)
    for name in ("frame", "driver", "age"):
        np.testing.assert_array_equal(getattr(other, name), getattr(replay, name))
    assert check_readable([Recorder(capacity, replay=other), *recorders]) == readable
    with pytest.raises(ValueError, match="3 environments, not 1"):
        Replay(replay.capacity, (STACK, SIZE, SIZE), 3, 2, 0.9, n_step).restore_cursor(replay.cursor)


def test_only_valid_slots_are_sampled_even_across_the_seam():
    recorder = Recorder(capacity=20)
    run(recorder, [(9, "truncated"), (9, "terminated"), (7, "broken")])
    replay = recorder.replay
    sample = replay.sample(2000, np.random.default_rng(0))
    assert replay.valid(sample.index).all()
    expected = np.flatnonzero(replay.valid(np.arange(len(replay))))
    assert set(sample.index) == set(expected)  # and every one of them is reached


def test_truncated_bootstraps_and_terminated_does_not():
    recorder = Recorder(capacity=30)
    run(recorder, [(3, "terminated"), (3, "truncated"), (3, "broken")])
    replay = recorder.replay
    ends = [2, 6, 10]  # the slot of each episode's last action
    assert [float(replay.at(np.array([i])).discount[0]) for i in ends] == pytest.approx([0.0, 0.9, 0.9])


def test_a_broken_episode_adds_no_transition():
    recorder = Recorder(capacity=30)
    recorder.begin()
    recorder.replay.break_off()
    assert recorder.replay.transitions == 0
    assert not recorder.replay.can_sample()
    with pytest.raises(RuntimeError, match="no transition"):
        recorder.replay.sample(4, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="begin"):
        recorder.replay.add(np.zeros(2, np.float32), 0.0, False, False, recorder.observation)


def restore(replay, saved, cursor):
    for number, arrays in enumerate(saved):
        replay.restore_segment(number, arrays)
    replay.restore_cursor(cursor)


def test_save_and_restore_continue_identically():
    recorder = Recorder(capacity=20)
    run(recorder, [(9, "truncated"), (9, "terminated")])
    saved = [{k: v.copy() for k, v in recorder.replay.segment(0).items()}]
    cursor = recorder.replay.cursor
    other = Replay(20, (STACK, SIZE, SIZE), 3, 2, 0.9)
    restore(other, saved, cursor)
    a = recorder.replay.sample(64, np.random.default_rng(1))
    b = other.sample(64, np.random.default_rng(1))
    for name in a.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    with pytest.raises(ValueError, match="capacity"):
        restore(Replay(30, (STACK, SIZE, SIZE), 3, 2, 0.9), saved, cursor)
    with pytest.raises(ValueError, match="frame"):
        restore(Replay(20, (STACK, SIZE + 1, SIZE + 1), 3, 2, 0.9), saved, cursor)
    with pytest.raises(ValueError, match="larger than the configured 12"):
        restore(Replay(12, (STACK, SIZE, SIZE), 3, 2, 0.9), saved, cursor)


def test_a_segment_whose_content_changes_has_another_revision(monkeypatch):
    """In a ring of four segments that is overwritten several times."""
    monkeypatch.setattr(replay_module, "SEGMENT", 8)
    recorder = Recorder(capacity=30)
    replay, seen = recorder.replay, {}
    rng = np.random.default_rng(0)
    for _ in range(40):
        run(recorder, [(int(rng.integers(1, 4)), str(rng.choice(["truncated", "broken"])))])
        for number in range(replay.segments):
            content = tuple(array.tobytes() for array in replay.segment(number).values())
            assert seen.setdefault((number, int(replay.revisions[number])), content) == content
    assert {number for number, _ in seen} == {0, 1, 2, 3}
    assert len(seen) < 40 * 4 / 2, "most were as before"


def test_bytes_per_transition_and_refusal():
    replay = Replay(100, (4, 84, 84), 53, 2, 0.99)
    stored = sum(getattr(replay, n).nbytes for n in ("frame", "vector", "action", "reward"))
    stored += replay.terminated.nbytes + replay.driver.nbytes + replay.age.nbytes
    assert stored == 100 * replay.bytes_per_slot
    assert replay.bytes_per_slot < 7400  # SB3: 56,892
    with pytest.raises(ReplayMemoryError, match=r"lower replay\.capacity"):
        Replay(10**12, (4, 84, 84), 53, 2, 0.99)


def test_it_knows_whose_actions_it_holds_and_still_does_after_saving():
    recorder = Recorder(50)
    recorder.begin()
    replay, observation = recorder.replay, recorder.observation
    for demonstrated in (True, False, True):
        replay.add(np.zeros(2, np.float32), 0.0, False, False, observation, demonstrated)
    assert replay.at(np.arange(3)).demonstrated.tolist() == [True, False, True]
    other = Recorder(50).replay
    restore(other, [replay.segment(0)], replay.cursor)
    assert other.at(np.arange(3)).demonstrated.tolist() == [True, False, True]
    assert replay.transitions == 3


@pytest.mark.parametrize("stack", [1, 2, 4, 6])
def test_a_stack_is_a_frame_after_the_other_and_lies_in_memory_pixel_by_pixel(stack):
    rng = np.random.default_rng(0)
    replay = Replay(40, (stack, 5, 7), 3, 2, 0.9)
    frames = rng.integers(0, 256, (20, 5, 7), dtype=np.uint8)
    for t, frame in enumerate(frames):
        seen = {"image": frame[None], "vector": np.zeros(3, np.float32)}
        if t == 0:
            replay.begin(seen)
        else:
            replay.add(np.zeros(2, np.float32), 0.0, False, False, seen)
    sample = replay.at(np.array([0, 7, 18]))
    for row, newest in enumerate([0, 7, 18]):
        expected = [frames[max(0, newest - k)] for k in reversed(range(stack))]
        assert np.array_equal(sample.image[row], expected)
    assert sample.image.transpose(0, 2, 3, 1).flags.c_contiguous


# ---------------------------------------------------------------- frames on the training's device


@pytest.mark.parametrize("envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_replay_on_the_device_samples_what_the_other_does(envs, n_step):
    """Also after the ring has gone round, and after it was restored from a checkpoint."""
    sizes = (60, (STACK, 5, 6), 3, 2, 0.9, n_step, envs)
    host, device = Replay(*sizes), DeviceReplay(*sizes, device=torch.device("cpu"))
    rng = np.random.default_rng(0)
    for step in range(50):
        for env in range(envs):
            frame = rng.integers(0, 256, (STACK, 5, 6), dtype=np.uint8)
            seen = {"image": frame, "vector": rng.normal(size=3).astype(np.float32)}
            for replay in (host, device):
                if step % 11 == 0:
                    replay.begin(seen, env)
                else:
                    replay.add(np.ones(2, np.float32), 1.0, step % 22 == 10, step % 11 == 10, seen, env=env)
    restored = DeviceReplay(*sizes, device=torch.device("cpu"))
    for number in range(host.segments):
        restored.restore_segment(number, host.segment(number))
    restored.restore_cursor(host.cursor)
    for other in (device, restored):
        mine, theirs = (r.sample(32, np.random.default_rng(1)) for r in (host, other))
        for name in ("index", "vector", "reward", "discount", "next_vector", "image", "next_image"):
            assert np.array_equal(getattr(mine, name), np.asarray(getattr(theirs, name))), name
        assert isinstance(theirs.image, torch.Tensor)
        assert theirs.image.is_contiguous(memory_format=torch.channels_last)


def test_frames_that_do_not_fit_on_the_gpu_are_refused_with_figures(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**20, 2**30))
    with pytest.raises(ReplayMemoryError, match=r"0\.0 GiB are free: lower replay.capacity, or .*device=cpu"):
        DeviceReplay(10_000, (STACK, 20, 20), 3, 2, 0.9, device=torch.device("cuda"))
