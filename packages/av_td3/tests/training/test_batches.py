"""Batches that a thread prepares: they are those of a run without delays, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch

from av_td3.agent.td3 import Batch
from av_td3.training.agents import prepares_ahead
from av_td3.training.batches import Batches

from .fake import small_config
from .test_many_environments import trainer, weights

AHEAD = {"prefetch": True}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_batch_is_prepared_while_the_update_computes(tmp_path):
    """Each waits for the other, which ends well only where both are under way at once."""
    t, _ = trainer(tmp_path / "run", 1, replay=AHEAD, steps=30)
    met, updates = threading.Barrier(2, timeout=10), []
    gather, update = t.state.replay.at, t.state.agent.update

    def meeting_gather(index):
        if threading.current_thread() is not threading.main_thread():  # it draws the first batch
            met.wait()
        return gather(index)

    def meeting_update(batch):
        updates.append(met.wait())
        return update(batch)

    t.state.replay.at, t.state.agent.update = meeting_gather, meeting_update
    assert t.train().updates == len(updates) == 10


@pytest.mark.parametrize("envs", [1, 2])
def test_a_slow_gather_gives_the_same_run(tmp_path, envs):
    """And nothing is stored before it has ended."""
    swift, _ = trainer(tmp_path / "swift", envs, replay=AHEAD, steps=60)
    swift.train()
    slow, _ = trainer(tmp_path / "slow", envs, replay=AHEAD, steps=60)
    replay, stored, under_way = slow.state.replay, [], threading.Event()
    gather, push = replay.at, replay._push

    def slow_gather(index):
        under_way.set()
        time.sleep(0.02)
        sample = gather(index)
        under_way.clear()
        return sample

    def watched_push(*arguments):
        stored.append(under_way.is_set())
        push(*arguments)

    replay.at, replay._push = slow_gather, watched_push
    slow.train()
    assert len(stored) > 60 and not any(stored)
    expected = weights(swift.state.agent)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(slow.state.agent).items())


def test_an_error_of_the_thread_ends_training_with_its_traceback(tmp_path):
    t, _ = trainer(tmp_path / "run", 1, replay=AHEAD)
    gather = t.state.replay.at

    def torn(index):
        if t.state.step >= 50:
            raise ValueError("a page is torn")
        return gather(index)

    t.state.replay.at = torn
    with pytest.raises(ValueError, match="a page is torn") as caught:
        t.train()
    assert t.state.step == 50 and "torn" in [entry.name for entry in caught.traceback]
    assert not threads()


def test_an_update_that_fails_waits_for_the_thread(tmp_path):
    drawn, begun = [], threading.Event()

    def draw():
        begun.set()
        time.sleep(0.1)
        drawn.append(True)

    batches = Batches(draw, ahead=True)
    with pytest.raises(FloatingPointError), batches.preparing_next():
        assert begun.wait(30)
        raise FloatingPointError
    assert drawn
    batches.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_no_thread_outlives_the_training(tmp_path, stopped):
    t, _ = trainer(tmp_path / "run", 1, replay=AHEAD, steps=60)
    update, seen = t.state.agent.update, []

    def watched(batch: Batch):
        seen.extend(threads())
        if stopped and t.state.step == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(batch)

    t.state.agent.update = watched
    assert t.train().state == ("interrupted" if stopped else "finished")
    assert len(set(seen)) == 1 and not threads()


@pytest.mark.parametrize(
    ("prefetch", "device", "ahead"),
    [("auto", "cpu", False), ("auto", "cuda", True), (True, "cpu", True), (False, "cuda", False)],
)
def test_when_batches_are_prepared_ahead(prefetch, device, ahead):
    assert prepares_ahead(small_config({"prefetch": prefetch}), torch.device(device)) is ahead
