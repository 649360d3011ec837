"""``av-td3 sweep``: what its file may say, what is run, and that it goes on where it was ended."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import sys
import threading
import time

import pytest
import yaml

from av_td3.commands import sweep
from av_td3.config import ConfigError, load_config
from av_td3.errors import FAILED, INTERRUPTED, OK, UserError
from av_td3.training import run_directory
from av_td3.training.run_directory import RunDirectory, RunError

from ..test_cli import TOY
from .test_compare import write as write_evaluation


def sweep_file(tmp_path, **tree):
    file = tmp_path / "tau.yaml"
    file.write_text(yaml.safe_dump({"preset": "debug"} | tree, sort_keys=False))
    return file


def test_the_plan(tmp_path):
    (tmp_path / "base.yaml").write_text("train: {steps: 77}")
    options = {"config": "base.yaml", "set": {"agent.tau": 0.1, "agent.hidden": [8]}, "seeds": [3, 5]}
    trials = {"plain": None, "other": {"agent.tau": 0.2}}
    found = sweep.plan(sweep_file(tmp_path, trials=trials, **options), tmp_path / "into", ungated=True)
    assert [t.name for t in found] == ["plain-s3", "other-s3", "plain-s5", "other-s5"]
    assert [t.config.agent.tau for t in found] == [0.1, 0.2, 0.1, 0.2]
    assert {(t.config.train.steps, t.config.agent.hidden) for t in found} == {(77, (8,))}
    assert [t.config.train.seed for t in found] == [3, 3, 5, 5]
    command = found[3].command()
    assert command[3:6] == ["train", "--preset", "debug"] and "--ungated" in command
    assert command[-2:] == ["--run-dir", str(tmp_path / "into" / "other-s5")]
    assert "agent.tau=0.2" in command and "train.seed=5" in command and str(tmp_path / "base.yaml") in command


def test_a_grid_is_every_combination(tmp_path):
    grid = {"agent.tau": [0.1, 0.2], "agent.hidden": [[8], [8, 8]], "train.max_minutes": [None]}
    found = sweep.plan(sweep_file(tmp_path, grid=grid), tmp_path)
    assert [t.method for t in found] == [
        f"tau-{tau},hidden-{hidden},max_minutes-None" for tau in (0.1, 0.2) for hidden in ("8", "8_8")
    ]
    assert found[3].config.agent.hidden == (8, 8)


def test_no_trials_are_the_preset_alone(tmp_path):
    assert [t.name for t in sweep.plan(sweep_file(tmp_path, seeds=[0, 1]), tmp_path)] == [
        "debug-s0",
        "debug-s1",
    ]


@pytest.mark.parametrize(
    "tree, words",
    [
        ({"trails": {}}, "trails: unknown key; there are preset, config, set, seeds, trials, grid"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "twice"),
        ({"seeds": [-1]}, "seeds"),
        ({"trials": {"a": {}}, "grid": {"agent.tau": [1]}}, "not both"),
        ({"trials": {"a/b": {}}}, "names no folder"),
        ({"trials": {"a": {"train.seed": 1}}}, "list the seeds"),
        ({"grid": {"agent.tau": []}}, "grid.agent.tau"),
        ({"grid": {"env.vehicle": ["a.b", "a b", "a/b"]}}, "the same name"),
    ],
)
def test_files_that_say_what_cannot_be(tmp_path, tree, words):
    with pytest.raises(UserError, match=words) as raised:
        sweep.plan(sweep_file(tmp_path, **tree), tmp_path)
    assert raised.value.status == 2


def test_files_that_cannot_be_read_and_settings_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match="cannot read the sweep"):
        sweep.plan(tmp_path / "nobody.yaml", tmp_path)
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="cannot read the sweep"):
        sweep.plan(tmp_path / "bad.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"a-s0: unknown key 'agent.taw'.*'agent.tau'"):
        sweep.plan(sweep_file(tmp_path, trials={"a": {"agent.taw": 1}}), tmp_path)
    with pytest.raises(ConfigError, match="atlantis"):
        sweep.plan(sweep_file(tmp_path, set={"env.simulator.map": "atlantis"}), tmp_path)


FAKE_TRAIN = """
import json, pathlib, shutil, signal, sys, time
path, template, resumed = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] == "True"
def end(state):
    (path / "status.json").write_text(json.dumps({"state": state}))
    sys.exit(130 if state == "interrupted" else 0)
if not resumed:
    shutil.copytree(template, path)
    if "early" in path.name:
        time.sleep(60)
(path / "checkpoints" / "step_000000001").mkdir(parents=True, exist_ok=True)
(path / "resumed").write_text(str(resumed))
if "bad" in path.name and not resumed:
    sys.exit("error: it went wrong")
if "long" in path.name and not resumed:
    signal.signal(signal.SIGTERM, lambda *_: end("interrupted"))
    (path / "waits").touch()
    time.sleep(60)
(path / "evaluations").mkdir(exist_ok=True)
shutil.copy(template / "final", path / "evaluations" / "final.json")
end("finished" if "odd" not in path.name else "failed")
"""


def as_stored(config):
    """The configuration as a run stores it: what was measured stands in place of every ``auto``."""
    agent, train = config.agent, config.train
    if agent.precision == "auto":
        agent = agent.model_copy(update={"precision": "bfloat16"})
    if train.threads == 0:
        train = train.model_copy(update={"threads": 3})
    return config.model_copy(update={"agent": agent, "train": train})


@pytest.fixture
def fake_train(tmp_path, monkeypatch):
    """A program that leaves a run directory as ``av-td3 train`` does; the trial's name says how it ends."""
    (tmp_path / "train.py").write_text(FAKE_TRAIN)
    command = sweep.Trial.command

    def faked(self):
        words = command(self)
        template = tmp_path / "templates" / self.name
        write_evaluation(template / "final", [1.0, 0.5, 0.25])
        (template / "config.yaml").write_text(as_stored(self.config).to_yaml())
        script, resumed = str(tmp_path / "train.py"), str("--resume" in words)
        return [sys.executable, "-SE", script, str(self.path), str(template), resumed]

    monkeypatch.setattr(sweep.Trial, "command", faked)


def interrupt_when(path):
    """Ctrl-C for this process as soon as a file is there."""

    def watch():
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def test_ctrl_c_lets_the_runs_save_themselves_and_the_sweep_goes_on(tmp_path, fake_train, capsys):
    file, into = sweep_file(tmp_path, trials={"long": {}, "late": {}}), tmp_path / "into"
    interrupt_when(into / "long-s0" / "waits")
    assert sweep.sweep(file, into=into) == INTERRUPTED
    out = capsys.readouterr().out
    assert f"sweep {file} --into {into}" in out and not (into / "late-s0").exists()
    assert json.loads((into / "long-s0" / "status.json").read_text())["state"] == "interrupted"
    assert sweep.sweep(file, into=into) == OK
    assert "[1/2] long-s0 goes on" in capsys.readouterr().out
    assert sweep.sweep(file, into=into) == OK
    out = capsys.readouterr().out
    assert "2 runs below" in out and "2 done" in out and "starts" not in out and "3 held-out routes" in out


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path, fake_train, monkeypatch):
    file, into = sweep_file(tmp_path, trials={"early": {}}), tmp_path / "into"
    monkeypatch.setattr(sweep, "GRACE_S", 0.1)
    interrupt_when(into / "early-s0" / "config.yaml")
    assert sweep.sweep(file, into=into) == INTERRUPTED
    (trial,) = sweep.plan(file, into)
    assert trial.state() == "new" and trial.path.exists()
    trial.command()
    assert not trial.path.exists()


def test_runs_that_fail_are_named_and_tried_again(tmp_path, fake_train, capsys):
    file = sweep_file(tmp_path, trials={"good": {}, "bad": {"agent.tau": 0.2}}, set={"train.threads": 1})
    into = tmp_path / "into"
    assert sweep.sweep(file, into=into, jobs=2) == FAILED
    out = capsys.readouterr().out
    assert "failed: bad-s0: exit status 1: error: it went wrong" in out and "bad-s0.log" in out.replace(
        "\n", ""
    )
    assert "3 held-out routes" in out and "good" in out
    assert sweep.sweep(file, into=into, only_list=True) == OK
    out = capsys.readouterr().out
    assert "2 runs below" in out and "1 done" in out and "done  good-s0" in out and "begun bad-s0" in out
    assert sweep.sweep(file, into=into) == OK
    out = capsys.readouterr().out
    assert "[1/1] bad-s0 goes on" in out and "good-s0 starts" not in out
    assert (into / "bad-s0" / "resumed").read_text() == "True"
    document = json.loads((into / "compare.json").read_text())
    assert list(document["methods"]) == ["good", "bad"] and (into / "profiles.png").exists()


@pytest.mark.parametrize("setting", ["train.threads", "agent.precision"])
def test_a_sweep_with_a_setting_that_each_run_measures(tmp_path, fake_train, capsys, setting):
    file = sweep_file(tmp_path, trials={"one": {}, "bad": {}}, set={setting: "auto"})
    into = tmp_path / "into"
    assert sweep.sweep(file, into=into) == FAILED, "the second one went wrong"
    assert [trial.state() for trial in sweep.plan(file, into)] == ["done", "begun"]
    assert sweep.sweep(file, into=into) == OK
    assert sweep.sweep(file, into=into, only_list=True) == OK
    out = capsys.readouterr().out
    assert "[1/1] bad-s0 goes on" in out and "2 done" in out
    # Where the file names a value, one that was measured is another setting.
    value = {"train.threads": 2, "agent.precision": "float32"}[setting]
    with pytest.raises(UserError, match=f"other settings: {setting} is"):
        sweep.sweep(sweep_file(tmp_path, trials={"one": {}}, set={setting: value}), into=into)


def test_a_folder_that_another_run_has_taken_fails_its_trial_alone(tmp_path, fake_train, monkeypatch, capsys):
    file, into = (
        sweep_file(tmp_path, set={"agent.tau": 0.1}, trials={"taken": {}, "other": {}}),
        tmp_path / "into",
    )
    failure = sweep.Trial.failure

    def taken(self, child):
        if self.name == "taken-s0":
            (self.path / "config.yaml").write_text(load_config("debug").to_yaml())
        return failure(self, child)

    monkeypatch.setattr(sweep.Trial, "failure", taken)
    assert sweep.sweep(file, into=into) == FAILED
    out = capsys.readouterr().out
    assert "failed: taken-s0" in out and "a run with other settings" in out and "other-s0 is done" in out


def test_a_run_that_ends_without_an_evaluation_has_failed(tmp_path, fake_train, capsys):
    assert sweep.sweep(sweep_file(tmp_path, trials={"odd": {}}), into=tmp_path / "into") == FAILED
    assert "it ended without a final evaluation" in capsys.readouterr().out


def test_folders_that_hold_something_else(tmp_path):
    file, into = sweep_file(tmp_path), tmp_path / "into"
    (trial,) = sweep.plan(file, into)
    run = RunDirectory.create(trial.path, trial.config, {})
    assert trial.state() == "new", "nothing was saved"
    with run.lock(), pytest.raises(Exception, match="is in use"):
        trial.command()
    assert trial.path.exists()
    assert "--run-dir" in trial.command() and not trial.path.exists()
    other = sweep.plan(sweep_file(tmp_path, set={"agent.tau": 0.3}), into)[0]
    run = RunDirectory.create(other.path, other.config, {})
    with pytest.raises(UserError, match="a run with other settings"):
        sweep.sweep(sweep_file(tmp_path), into=into)
    (run.path / "config.yaml").unlink()
    (run.checkpoints / "mine").touch()
    with pytest.raises(UserError, match=r"no run directory.*--into"):
        sweep.sweep(sweep_file(tmp_path), into=into)


def test_one_sweep_at_a_time_and_no_run_of_a_million_steps(tmp_path):
    file, into = sweep_file(tmp_path), tmp_path / "into"
    into.mkdir()
    with (into / ".sweep.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another sweep runs"):
            sweep.sweep(file, into=into)
    with pytest.raises(UserError, match="validate"):
        sweep.sweep(sweep_file(tmp_path, set={"train.steps": 1_000_000}), into=into)


def test_a_run_that_somebody_else_trains_is_left_alone(tmp_path, fake_train, capsys):
    file, into = sweep_file(tmp_path, trials={"a": {}, "b": {}}), tmp_path / "into"
    (trial, _) = sweep.plan(file, into)
    with RunDirectory.create(trial.path, trial.config, {}).lock():
        assert sweep.sweep(file, into=into) == FAILED
    out = capsys.readouterr().out
    assert "failed: a-s0" in out and "is in use" in out and "b-s0 is done" in out


@pytest.mark.slow
def test_a_sweep_trains_and_compares(tmp_path, capsys):
    """The real thing."""
    options = dict(TOY) | {"agent.hidden": [8], "train.steps": 40, "env.termination.max_steps": 10}
    options |= {"evaluation.baselines": False, "evaluation.video": False}
    assert sweep.sweep(sweep_file(tmp_path, set=options), into=tmp_path / "into") == OK
    run = RunDirectory.open(tmp_path / "into" / "debug-s0")
    assert run.status()["step"] == 40 and (tmp_path / "into" / "compare.json").exists()
    assert "2 held-out routes" in capsys.readouterr().out
    assert list(json.loads((run.evaluations / "final.json").read_text())["agents"]) == ["trained"]
    assert not list(run.videos.glob("*"))


@pytest.mark.parametrize("last", ["tb", "logs", "provenance.json", "config.yaml"])
def test_a_run_that_was_killed_while_its_folder_was_made_starts_anew(tmp_path, fake_train, monkeypatch, last):
    """Before its configuration is there whole, the folder is nobody's."""
    file = sweep_file(tmp_path)
    [trial] = sweep.plan(file, tmp_path / "into")
    made, write = type(tmp_path).mkdir, run_directory.write_atomically

    def mkdir(self, *args, **options):
        if self.name == last:
            raise KeyboardInterrupt
        made(self, *args, **options)

    def killed_there(path, text):
        if path.name == last:
            path.with_name(f".{path.name}.tmp").write_text(text[:10])
            raise KeyboardInterrupt
        write(path, text)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(type(tmp_path), "mkdir", mkdir)
        patched.setattr(run_directory, "write_atomically", killed_there)
        RunDirectory.create(trial.path, trial.config, {})
    assert trial.path.is_dir() and trial.state() == "new"
    assert sweep.sweep(file, into=tmp_path / "into") == OK


def test_a_full_disk_leaves_no_run_without_a_configuration(tmp_path, monkeypatch):
    [trial] = sweep.plan(sweep_file(tmp_path), tmp_path / "into")
    write = type(tmp_path).write_text

    def full(self, text, *args, **options):
        write(self, "")
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patched, pytest.raises(RunError, match="No space left"):
        patched.setattr(type(tmp_path), "write_text", full)
        RunDirectory.create(trial.path, trial.config, {})
    assert trial.state() == "new"


def test_a_folder_with_anything_else_in_it_is_not_taken_for_a_run_that_was_not_made(tmp_path):
    [trial] = sweep.plan(sweep_file(tmp_path), tmp_path / "into")
    for stranger in ("thesis.tex", "logs/x.log", "notes/provenance.json"):
        (trial.path / stranger).parent.mkdir(parents=True, exist_ok=True)
        (trial.path / stranger).write_text("mine")
        with pytest.raises(UserError, match="is no run directory"):
            trial.state()
        (trial.path / stranger).unlink()
