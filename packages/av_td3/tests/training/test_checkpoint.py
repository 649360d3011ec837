"""Checkpoints hold what is new, written beside the training; a resume forgets what came after."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from av_td3.agent import replay as replay_module
from av_td3.config import config_from_dict
from av_td3.config import driving as driving_config
from av_td3.training import checkpoint, policies, tensor_files
from av_td3.training.agents import make_agent
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.event_files import drop_later
from av_td3.training.state import TrainingState

from .fake import SIZE, small_config
from .test_trainer import scalars, trainer


@pytest.fixture
def state(monkeypatch) -> TrainingState:
    """A run before its first step whose replay has segments of 16 slots."""
    monkeypatch.setattr(replay_module, "SEGMENT", 16)
    monkeypatch.setattr(checkpoint, "SEGMENT", 16)
    return TrainingState(small_config(keep_checkpoints=2))


def drive(state: TrainingState, episodes: int, steps: int = 9) -> None:
    """Episodes with random pictures, each of one slot more than steps."""
    rng = np.random.default_rng(state.step)

    def observation() -> dict[str, np.ndarray]:
        frame = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        return {"image": np.stack([frame] * 4), "vector": np.ones(state.config.env.vector_size, np.float32)}

    for _ in range(episodes):
        state.replay.begin(observation())
        for step in range(steps):
            state.replay.add(np.zeros(2, np.float32), 1.0, False, step == steps - 1, observation())
            state.step += 1
        state.episodes[0] += 1


def segments(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (folder / "replay").iterdir()}


def contents(state: TrainingState) -> list[dict[str, np.ndarray]]:
    return [
        {name: array.copy() for name, array in state.replay.segment(number).items()}
        for number in range(state.replay.segments)
    ]


def same(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]]) -> bool:
    return len(one) == len(other) and all(
        all(np.array_equal(a[name], b[name]) for name in a) for a, b in zip(one, other, strict=True)
    )


def test_only_what_is_new_is_written_and_what_nobody_needs_is_removed(state, tmp_path):
    drive(state, 8)  # 80 slots: 5 whole segments
    state.save(tmp_path)
    first = segments(tmp_path)
    assert len(first) == 5
    drive(state, 2)  # 100 slots: two more, the last with 4
    state.save(tmp_path)
    second = segments(tmp_path)
    assert first.items() <= second.items() and len(second) == 7
    while not state.replay.revisions[0] > 40:  # until the ring has come round
        drive(state, 1)
    state.save(tmp_path)
    assert len(checkpoint.available(tmp_path)) == 2
    needed = set()
    for path in checkpoint.available(tmp_path):
        needed |= set(json.loads((path / "state.json").read_text())["replay"]["files"])
    assert set(segments(tmp_path)) == needed
    again = TrainingState(state.config)
    again.restore(tmp_path)
    assert same(contents(again), contents(state)) and again.replay.cursor == state.replay.cursor
    # A resumed run does not write again what it has read.
    before = segments(tmp_path)
    drive(again, 1)
    again.save(tmp_path)
    new = set(segments(tmp_path)) - set(before)
    assert 1 <= len(new) <= 2


def test_what_the_training_does_meanwhile_is_not_in_the_checkpoint(state, tmp_path, monkeypatch):
    drive(state, 12)
    expected, cursor = contents(state), state.replay.cursor
    weights = {k: v.clone() for k, v in checkpoint.agent_tensors(state.agent).items()}
    evaluations = list(state.evaluations)
    write = tensor_files.write

    def slowly(*arguments):
        training.result()  # the learner goes on before anything is written
        return write(*arguments)

    training: Future[None] = Future()
    monkeypatch.setattr(tensor_files, "write", slowly)
    state.begin_checkpoint(tmp_path)
    step = state.step
    drive(state, 60)
    state.evaluations.append({"step": 1})
    with torch.no_grad():
        for tensor in checkpoint.agent_tensors(state.agent).values():
            tensor.zero_()
    state.settle()
    assert state.checkpoint is None, "it is not written yet"
    training.set_result(None)
    state.settle(wait=True)
    assert state.last_checkpoint == step
    again = TrainingState(state.config)
    again.restore(tmp_path)
    assert same(contents(again), expected) and again.replay.cursor == cursor
    assert (again.step, again.evaluations) == (step, evaluations)
    assert all(torch.equal(v, weights[k]) for k, v in checkpoint.agent_tensors(again.agent).items())


@pytest.mark.parametrize("harm", ["changed", "missing", "cut"])
def test_a_damaged_segment_is_noticed_and_the_checkpoint_before_is_used(state, tmp_path, harm):
    drive(state, 4)
    state.save(tmp_path)
    drive(state, 4)
    state.save(tmp_path)
    newest, older = (json.loads((p / "state.json").read_text()) for p in checkpoint.available(tmp_path))
    mine = set(newest["replay"]["files"]) - set(older["replay"]["files"])
    victim = tmp_path / "replay" / sorted(mine)[-1]
    if harm == "changed":
        data = bytearray(victim.read_bytes())
        data[-3] ^= 1
        victim.write_bytes(data)
    elif harm == "cut":
        victim.write_bytes(victim.read_bytes()[:-100])
    else:
        victim.unlink()
    again = TrainingState(state.config)
    notes = again.restore(tmp_path)
    assert again.step == older["step"] and victim.name in notes[0] and "skipped a checkpoint" in notes[0]
    # The agent of the newest is whole: it can be evaluated.
    assert checkpoint.find(tmp_path, None)[1]["step"] == newest["step"]


def test_damage_that_is_only_in_the_replay_is_named_and_can_be_left_out(state, tmp_path):
    """Checkpoints share their segments: one that is damaged makes all of them unusable."""
    drive(state, 4)
    state.save(tmp_path)
    drive(state, 4)
    state.save(tmp_path)
    shared = sorted(tmp_path.glob("replay/00000-*"))[0]
    shared.write_bytes(shared.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"the replay of step_000000072 is damaged") as raised:
        TrainingState(state.config).restore(tmp_path)
    assert "The rest of step_000000072 is whole: `train --resume RUN --new-replay`" in str(raised.value)
    again = TrainingState(state.config)
    notes = again.restore(tmp_path, replay=False)
    assert (again.step, len(again.replay), again.learning_from) == (72, 0, 92)
    assert "left out: it is collected anew, and the networks are updated again from step 92" in notes[0]
    drive(again, 3)
    again.save(tmp_path)
    other = TrainingState(state.config)
    other.restore(tmp_path)
    assert same(contents(other), contents(again)) and other.learning_from == 92
    (tmp_path / "step_000000099" / "agent.safetensors").write_bytes(b"")
    (tmp_path / "step_000000072" / "agent.safetensors").unlink()
    with pytest.raises(CheckpointError) as raised:
        TrainingState(state.config).restore(tmp_path)
    assert "--new-replay" not in str(raised.value), "that would not help"


def test_a_damaged_checkpoint_takes_no_place_of_a_whole_one(tmp_path):
    """B is damaged: the run goes on from A and writes C before the step of B.  A and C are to be kept."""
    t, _ = trainer(tmp_path / "run", steps=45, checkpoint_interval=30, learning_starts=1000)
    t.train()
    b, a = checkpoint.available(t.run.checkpoints)
    assert int(a.name[5:]) < 40 < int(b.name[5:]) == 45
    (b / "agent.safetensors").write_bytes(b"")
    resumed, _ = trainer(t.run.path, steps=40, checkpoint_interval=30, learning_starts=1000)
    resumed.restore()
    assert f"{b.name} was renamed to unusable_{b.name}, and counts no more" in resumed.display.messages
    assert (t.run.checkpoints / f"unusable_{b.name}" / "agent.safetensors").exists()
    resumed.train()
    names = [path.name for path in checkpoint.available(t.run.checkpoints)]
    assert names == ["step_000000040", a.name]
    assert all(checkpoint.verify(path) for path in checkpoint.available(t.run.checkpoints))
    # Once more with the same name: the newer one stays.
    (t.run.checkpoints / "step_000000040").rename(b)
    (b / "state.json").write_text("{")
    trainer(t.run.path)[0].restore()
    assert (t.run.checkpoints / f"unusable_{b.name}" / "state.json").read_text() == "{"


def test_much_at_once_is_written_while_the_training_waits(state, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "COPY_AT_MOST", 2 * 16 * state.replay.bytes_per_slot)
    drive(state, 30)
    state.save(tmp_path)
    again = TrainingState(state.config)
    again.restore(tmp_path)
    assert same(contents(again), contents(state))


def test_a_full_disk_costs_a_warning_and_the_next_checkpoint_holds_everything(state, tmp_path, monkeypatch):
    drive(state, 4)
    state.save(tmp_path)
    write, whole = tensor_files.write, checkpoint.available(tmp_path)

    def full(path, *arguments):
        sha = write(path, *arguments)
        if "agent" in path.name:
            raise OSError(28, "No space left on device")
        return sha

    monkeypatch.setattr(tensor_files, "write", full)
    drive(state, 8)
    assert state.checkpoint_due
    with pytest.raises(CheckpointError, match="No space left"):
        state.save(tmp_path)
    assert checkpoint.available(tmp_path) == whole and not list(tmp_path.glob(".*"))
    assert checkpoint.verify(whole[0])["step"] == 36
    assert not state.checkpoint_due, "not at every episode"
    drive(state, 1)
    assert state.checkpoint_due, "but soon"
    monkeypatch.setattr(tensor_files, "write", write)
    drive(state, 3)
    state.save(tmp_path)
    again = TrainingState(state.config)
    again.restore(tmp_path)
    assert same(contents(again), contents(state)) and again.step == state.step


def test_a_checkpoint_of_the_first_format_loads(state, tmp_path):
    drive(state, 5)
    state.save(tmp_path)
    path = checkpoint.available(tmp_path)[0]
    used = range(state.replay.segments)
    arrays = {
        name: np.concatenate([state.replay.segment(n)[name] for n in used])
        for name in state.replay.segment(0)
    }
    arrays["cursor"] = np.array(state.replay.cursor, np.int64)
    safetensors.numpy.save_file(arrays, path / "replay.safetensors")
    document = json.loads((path / "state.json").read_text())
    del document["replay"]
    document["format"] = 1
    document["files"]["replay.safetensors"] = tensor_files.sha256(path / "replay.safetensors")
    (path / "state.json").write_text(json.dumps(document))
    shutil.rmtree(tmp_path / "replay")
    again = TrainingState(state.config)
    again.restore(tmp_path)
    assert same(contents(again), contents(state))
    drive(again, 1)
    again.save(tmp_path)
    assert len(segments(tmp_path)) == again.replay.segments
    document["format"] = 3
    (path / "state.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="format 3, and this version reads 1 and 2"):
        checkpoint.verify(path)


def test_a_replay_that_does_not_fit_is_refused(state, tmp_path):
    drive(state, 3)
    state.save(tmp_path)
    small = state.config.model_copy(
        update={"replay": state.config.replay.model_copy(update={"capacity": 400})}
    )
    with pytest.raises(CheckpointError, match="capacity 500, the configured one 400"):
        TrainingState(small).restore(tmp_path)


def test_files_are_what_the_library_writes(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([True, False, True]),
        "c": np.zeros((0, 4), np.int64),
        "d": np.array(7, np.uint8),
    }
    sha = tensor_files.write(tmp_path / "x", tensor_files.freeze(arrays), {"step": "3"})
    assert sha == tensor_files.sha256(tmp_path / "x")
    read = safetensors.numpy.load_file(tmp_path / "x")
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert np.array_equal(read[name], array) and read[name].dtype == array.dtype
    tensor = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors = {"weight": tensor, "half": torch.ones(3, dtype=torch.bfloat16), "step": torch.tensor(3.0)}
    frozen, before = tensor_files.freeze(tensors), tensor.clone()
    with torch.no_grad():
        tensor += 1
    tensor_files.write(tmp_path / "y", frozen)
    loaded = safetensors.torch.load_file(tmp_path / "y")
    assert torch.equal(loaded["weight"], before) and loaded["half"].dtype == torch.bfloat16
    assert loaded["step"].shape == ()


def test_a_policy_that_is_damaged_or_of_another_shape_is_refused(tmp_path):
    agent = make_agent(small_config())
    file = tmp_path / "p.safetensors"
    policies.write(file, 30, 20, policies.freeze(agent), {"eval/mean_reward": 2.0})
    assert policies.describe(file)["evaluation"] == {"eval/mean_reward": 2.0}
    config = small_config()
    other = make_agent(
        config.model_copy(update={"agent": config.agent.model_copy(update={"feature_size": 32})})
    )
    with pytest.raises(CheckpointError, match="another architecture"):
        policies.load(file, other)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        policies.describe(file)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a readable policy"):
        policies.describe(file)


@pytest.mark.parametrize("encoder", ["separate", "shared", "asymmetric"])
def test_a_run_can_be_driven_by_a_version_whose_critic_sees_more(tmp_path, monkeypatch, encoder):
    config = small_config()
    agent = config.agent.model_copy(update={"encoder": encoder})
    observation = config.env.observation.model_copy(update={"privileged": True})
    env = config.env.model_copy(update={"observation": observation})
    config = config.model_copy(update={"agent": agent, "env": env})
    then = TrainingState(config)
    then.save(tmp_path)
    monkeypatch.setattr(driving_config, "NEIGHBOURS", driving_config.NEIGHBOURS + 2)
    now, path = make_agent(config), checkpoint.newest_good(tmp_path)[0]
    critic = {k: v.clone() for k, v in now.critic.state_dict().items()}
    for parameter in (*now.actor.parameters(), *now.actor_encoder.parameters()):
        parameter.data.fill_(0.5)
    checkpoint.load_policy(path, now)
    for averaged in (False, True):
        saved = policies.freeze(then.agent, averaged)
        assert tensor_files.digest(policies.freeze(now, averaged)) == tensor_files.digest(saved)
    assert all(torch.equal(now.critic.state_dict()[k], v) for k, v in critic.items())
    with pytest.raises(CheckpointError, match="another architecture"):
        checkpoint.load_agent(path, now)


@pytest.mark.slow
def test_an_agent_that_is_loaded_forgets_its_recorded_updates(tmp_path):
    """They would go on with the optimisers' moments from before."""
    tree = small_config().model_dump()
    tree["agent"]["execution"] = "graphs"
    agent = make_agent(config_from_dict(tree))
    writer = checkpoint.CheckpointWriter(tmp_path, 1)
    writer.begin(1, agent, None, {})
    path = writer.outcome(wait=True)
    writer.close()
    forgotten = []
    agent.graphs.forget = lambda: forgotten.append(True)
    checkpoint.load_agent(path, agent)
    assert forgotten == [True]


@pytest.mark.slow
def test_a_resume_removes_what_it_overrides(tmp_path):
    """The run stood at step 120; its checkpoint of step 120 is damaged, so it goes on from an older one."""
    t, _ = trainer(tmp_path / "run")
    t.train()
    run = t.run
    newest, older = checkpoint.available(run.checkpoints)
    (newest / "state.json").write_text("{")
    step = int(older.name.removeprefix("step_"))
    with run.alerts.open("a") as file:
        for at in (5, step, step + 1, 120):
            file.write(json.dumps({"name": "x", "level": "warning", "step": at}) + "\n")
        file.write('{"name": "torn')
    (run.evaluations / "step_000000110.json").write_text("{}")
    (run.evaluations / "step_000000060_final.json").write_text("{}")
    policies.keep(run.policies, 110, 90, policies.freeze(t.state.agent), {"eval/mean_reward": 1e9}, best=True)
    assert max(s for values in scalars(run.path).values() for s, _ in values) == 120
    resumed, _ = trainer(run.path)
    resumed.restore()
    assert resumed.state.step == step < 110
    assert checkpoint.available(run.checkpoints) == [older]
    assert all(s <= step for values in scalars(run.path).values() for s, _ in values)
    assert {p.name for p in run.evaluations.iterdir()} == {"step_000000060.json", "step_000000060_final.json"}
    assert not (run.policies / "step_000000110.safetensors").exists()
    assert policies.describe(run.policies / policies.BEST)["step"] == 60
    logged = [json.loads(line)["step"] for line in run.alerts.read_text().splitlines()]
    assert logged == []  # none had been written when that checkpoint was
    resumed.train()
    steps = [s for s, _ in scalars(run.path)["train/critic_loss"]]
    assert steps == sorted(set(steps)) and steps[-1] == 120


def test_torn_and_unreadable_event_files(tmp_path):
    t, _ = trainer(tmp_path / "run", steps=40)
    t.train()
    file = next((tmp_path / "run" / "tb").iterdir())
    whole = file.read_bytes()
    assert drop_later(file.parent, 40) == 0 and file.read_bytes() == whole
    file.write_bytes(whole[:-7])
    assert drop_later(file.parent, 40) == 1
    assert whole.startswith(file.read_bytes())
    assert drop_later(file.parent, 40) == 0
