"""Whatever happens to the simulator or to the worker, the loop goes on and nothing is left behind.

Real minicarla, real client, real signals.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest

from av_td3.config import EnvConfig
from av_td3.driving.errors import SetupError
from av_td3.supervision import crew as crew_module
from av_td3.supervision.supervised import SupervisedEnv, SupervisionError

ACTION = np.array([0.0, 0.4], np.float32)


def config(**simulator):
    return EnvConfig.model_validate(
        {
            "simulator": {
                "map": "loop",  # the quickest to start
                "client_timeout_s": 1.5,
                "step_deadline_s": 2.5,
                "reset_deadline_s": 10.0,
                **simulator,
            }
        }
    )


def children():
    return {p.pid for p in psutil.Process().children(recursive=True)}


def gone(pids, within=3.0):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and not _zombie(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _zombie(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    bystander = subprocess.Popen([sys.executable, "-m", "minicarla", "serve", "--port", "0"], stdout=-3)
    before = children()
    with SupervisedEnv(config(max_consecutive_restarts=3), log_dir=tmp_path_factory.mktemp("logs")) as env:
        yield env
        during = children() - before
        assert len(during) == 2, "one worker and one server, whatever happened"
    assert gone(during), "close() left a process behind"
    assert bystander.poll() is None, "somebody else's server was stopped"
    bystander.kill()
    bystander.wait()


def crew(env):
    return env._mine.crew.server.process.pid, env._mine.crew.worker.pid


def drive(env, steps):
    """Steps that a training loop makes, resetting where it would; the last step's results."""
    for _ in range(steps):
        result = env.step(ACTION)
        if result[2] or result[3]:
            env.reset()
    return result


FAULTS = {
    "server killed": (0, signal.SIGKILL, "server-died"),
    "server frozen": (0, signal.SIGSTOP, "error"),
    "worker killed": (1, signal.SIGKILL, "worker-died"),
    "worker aborted": (1, signal.SIGABRT, "worker-died"),
    "worker frozen": (1, signal.SIGSTOP, "deadline"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_step_truncates_the_episode_and_the_loop_goes_on(env, name, monkeypatch):
    who, number, kind = FAULTS[name]
    env.reset(seed=3)
    observation, _, _, _, info = drive(env, 5)
    restarts, incidents = env.restarts, len(env.incidents)
    pids = crew(env)
    kept = {key: value.copy() for key, value in observation.items()}
    for value in observation.values():
        value[:] = 0  # the arrays are the caller's to change
    waits, wait = [], crew_module.wait
    monkeypatch.setattr(crew_module, "wait", lambda ends, most: (waits.append(most), wait(ends, most))[1])
    os.kill(pids[who], number)
    lost, reward, terminated, truncated, told = env.step(ACTION)
    assert len(waits) <= 1 and all(most <= env._patience.limit("step") for most in waits)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert told["termination"] == "simulator_fault" and told["fault"]
    assert all(np.array_equal(lost[key], kept[key]) for key in kept), "the last observation"
    assert set(info) <= set(told) and sum(told["reward_components"].values()) == 0.0
    assert gone(pids), "the failed pair must be gone before anything replaces it"
    with pytest.raises(Exception, match="reset"):
        env.step(ACTION)
    env.reset(seed=4)
    drive(env, 20)
    assert env.restarts == restarts + 1 and len(env.incidents) == incidents + 1
    incident = env.incidents[-1]
    assert (incident.during, incident.kind, incident.consecutive) == ("step", kind, 1)
    lines = (env.log_dir / "incidents.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["text"] == incident.text == told["fault"]


@pytest.mark.slow
def test_a_fault_between_episodes_costs_nothing_but_time(env):
    env.reset(seed=3)
    os.kill(crew(env)[0], signal.SIGKILL)
    restarts = env.restarts
    observation, info = env.reset(seed=5)
    assert "termination" not in info and env.restarts == restarts + 1
    again, _ = env.reset(seed=5)
    assert all(np.array_equal(observation[key], again[key]) for key in observation)


def test_the_learner_may_be_late(env):
    """A deadline that passed while the learner was busy says nothing about the simulator."""
    env.reset(seed=3)
    env.send(ACTION)
    env._deadline = time.monotonic() - 100.0
    assert env.receive()[4].get("termination") is None


@pytest.mark.slow
def test_it_gives_up_after_too_many_failures_in_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(crew_module, "WORKER", (sys.executable, "-c", "import sys; sys.exit('no luck')"))
    before = children()
    with SupervisedEnv(config(max_consecutive_restarts=1), log_dir=tmp_path) as env:
        with pytest.raises(SupervisionError, match=r"2 times in a row.*exit status 1") as error:
            env.reset(seed=0)
        assert str(tmp_path) in str(error.value)
        assert [i.action for i in env.incidents][-1] == "give up"
        assert "no luck" in env.incidents[-1].output
    assert gone(children() - before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("simulator", "says"),
    [
        ({"address": "127.0.0.1:1"}, "no CARLA server answers at 127.0.0.1:1"),
    ],
)
def test_what_cannot_work_is_said_at_once_and_not_retried(simulator, says):
    before = children()
    with SupervisedEnv(config(**simulator)) as env:
        with pytest.raises(SetupError, match=says):
            env.reset(seed=0)
        assert env.incidents == []
        assert gone(children() - before)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["main", "thread"])
def test_kill_9_of_the_learner_leaves_no_child(where):
    program = """
        import sys, threading, time
        from av_td3.supervision.supervised import SupervisedEnv
        env = SupervisedEnv(map="loop")
        def begin():
            env.reset(seed=0)
        if sys.argv[1] == "thread":
            thread = threading.Thread(target=begin); thread.start(); thread.join()
        else:
            begin()
        env.step([0.0, 0.5])
        print(env._mine.crew.server.process.pid, env._mine.crew.worker.pid, flush=True)
        while True:
            env.step([0.0, 0.0])
    """
    learner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), where], stdout=subprocess.PIPE, text=True
    )
    try:
        pids = list(map(int, learner.stdout.readline().split()))
        assert len(pids) == 2 and all(map(psutil.pid_exists, pids))
    finally:
        learner.kill()
        learner.wait()
    assert gone(pids)


@pytest.mark.slow
def test_a_forgotten_environment_cleans_up_at_the_interpreters_end():
    program = (
        "from av_td3.supervision.supervised import SupervisedEnv as E; e = E(map='loop'); e.reset(seed=0)\n"
    )
    program += "print(e._mine.crew.server.process.pid, e._mine.crew.worker.pid, e.log_dir)"
    # Longer than start_deadline_s: should the client hang while it connects, it is replaced.
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150)
    server, worker, folder = run.stdout.split()
    assert run.returncode == 0 and run.stderr == ""
    assert gone([int(server), int(worker)]) and not os.path.exists(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "simulator"),
    [
        ("freeze@tick=40", {}),
        ("stall:camera@tick=40", {}),
        ("hangup@tick=40", {}),
        ("freeze@tick=40", {"npc": 3, "traffic": "traffic_manager"}),  # the client aborts the worker
    ],
    ids=["freeze", "stall", "hangup", "freeze with Traffic Manager"],
)
def test_a_simulator_that_fails_in_every_life_does_not_end_a_training_loop(tmp_path, fault, simulator):
    with SupervisedEnv(config(faults=fault, **simulator), log_dir=tmp_path) as env:
        steps = faults = 0
        pids = set()
        while not faults or steps < 25:
            env.reset()
            pids |= set(crew(env))
            ended = False
            while not ended and steps < 50:
                observation, _, terminated, truncated, info = env.step(ACTION)
                assert all(np.isfinite(value).all() for value in observation.values())
                ended = terminated or truncated
                failed = info.get("termination") == "simulator_fault"
                faults, steps = faults + failed, steps + (not failed)
        # Another program may have the Traffic Manager's usual port: that is no failure.
        failures = [incident for incident in env.incidents if incident.kind != "port-taken"]
        assert failures[0].during == "step" and failures[0].consecutive == 1
        assert len(failures) - env.restarts in (0, 1)  # the last may await its reset
    assert gone(pids)
