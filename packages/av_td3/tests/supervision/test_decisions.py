"""What the supervisor decides: who is replaced, when, and what a step must be.  No process is started."""

from __future__ import annotations

import json
import threading

import gymnasium
import numpy as np
import pytest

from av_td3.config import EnvConfig
from av_td3.driving.reward import no_reward
from av_td3.supervision import protocol, supervised
from av_td3.supervision.crew import CrewFailure
from av_td3.supervision.patience import RestartBudget
from av_td3.supervision.supervised import SupervisedEnv, SupervisionError

ACTION = np.zeros(2, np.float32)


class FakeServer:
    alive = True

    def __init__(self):
        self.address, self.hours, self.memory, self.stopped = "127.0.0.1:1", 0.0, 0, False

    def answers(self, timeout_s):
        return self.alive

    def stop(self, grace_s=0.0):
        self.stopped = True


class FakeCrew:
    """Answers at once; ``script`` holds what becomes of the next requests: an exception, or frames."""

    made: list[FakeCrew] = []
    script: list[object] = []

    def __init__(self, config, split, render_mode, logs, name, server=None):
        self.config, self.taken_over = config, server
        self.server, self.worker = server or FakeServer(), None
        self.memory = protocol.ObservationMemory(config)
        self.port = self.wanted_port = 8000
        self.routes, self.start_took_s, self.map_took_s = 3, 0.0, 0.0
        self.closed = self.killed = False
        self.reopened = 0
        self.frame = 0
        FakeCrew.made.append(self)

    def observed(self, answer):
        return self.memory.slots[answer["slot"]]

    def trim_logs(self):
        pass

    def reopen(self, deadline_s):
        self.reopened += 1
        self.reopen_deadline = deadline_s

    def ask(self, request):
        self.request = request

    def answer(self, deadline):
        told = FakeCrew.script.pop(0) if FakeCrew.script else None
        if isinstance(told, Exception):
            raise told
        self.frame = 0 if self.request["do"] == "reset" else self.frame + 1 if told is None else told
        info = {"frame": self.frame, "npc": 0, "reward_components": no_reward()}
        return {"slot": 0, "info": info, "reward": 0.0, "terminated": False, "truncated": False}

    def close(self):
        self.closed = True

    def kill(self):
        self.killed = True
        self.server.stop()

    def leave_server(self):
        self.killed = True
        return self.server


@pytest.fixture
def env(monkeypatch, tmp_path):
    """Makes an environment of fake crews whose simulator has these settings."""
    monkeypatch.setattr(supervised, "Crew", FakeCrew)
    monkeypatch.setattr(FakeCrew, "made", [])
    monkeypatch.setattr(FakeCrew, "script", [])
    monkeypatch.setattr(RestartBudget, "pause", 0.0)
    made = []

    def make(**simulator):
        made.append(SupervisedEnv(EnvConfig.model_validate({"simulator": simulator}), log_dir=tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


def failed(env, kind="worker-died", text="the worker ended"):
    """Make the next step fail."""
    FakeCrew.script.append(CrewFailure(kind, text))
    assert env.step(ACTION)[4]["termination"] == "simulator_fault"


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_is_slow_to_start_is_kept_once_if_it_answers(env, monkeypatch, answers):
    monkeypatch.setattr(FakeServer, "alive", answers)
    env = env(command="CarlaUE4.sh {port}")
    env.reset()
    failed(env)
    env.reset()
    first, second = FakeCrew.made
    assert first.killed and (second.taken_over is first.server) is answers
    assert first.server.stopped is not answers
    env.step(ACTION)
    failed(env)
    FakeCrew.script.append(CrewFailure("error", "the map is gone"))  # of the reset: the second in a row
    env.reset()
    assert second.server.stopped and FakeCrew.made[-1].taken_over is None
    assert [incident.consecutive for incident in env.incidents] == [1, 1, 2]


def test_a_server_that_died_is_not_kept(env):
    env = env(command="CarlaUE4.sh {port}")
    env.reset()
    failed(env, "server-died", "the server ended")
    env.reset()
    assert FakeCrew.made[0].server.stopped and FakeCrew.made[1].taken_over is None


@pytest.mark.parametrize("command", [None, "CarlaUE4.sh {port}"])
def test_escalation_begins_with_the_same_worker(env, command):
    """Retry, a new worker, a new server; a minicarla is replaced together with the worker."""
    env = env(command=command)
    env.reset()
    env.step(ACTION)
    failed(env, "error", "tick: the simulator says no")
    for _ in range(2):
        FakeCrew.script.append(CrewFailure("error", "no again"))
    env.reset()
    first = FakeCrew.made[0]
    assert first.reopened == 1 and first.killed
    tried = [incident.action.partition("with ")[2] for incident in env.incidents]
    if command is None:
        assert (
            tried == ["the same worker", *["a new worker and a new server"] * 2] and len(FakeCrew.made) == 3
        )
    else:
        second = FakeCrew.made[1]
        assert tried == [
            "the same worker",
            "a new worker (the server stays)",
            "a new worker and a new server",
        ]
        assert second.taken_over is first.server and second.server.stopped
    env.step(ACTION)
    failed(env, "error", "once more")
    assert env.incidents[-1].action.endswith("the same worker"), "a step was made: it begins anew"


def test_a_worker_that_recovers_by_itself_is_no_restart(env):
    env = env()
    env.reset()
    failed(env, "error", "tick: the simulator says no")
    env.reset()
    (crew,) = FakeCrew.made
    assert crew.reopened == 1 and env.restarts == 0 and len(env.incidents) == 1
    assert env.step(ACTION)[4]["frame"] == 1 and env.downtime_s > 0


@pytest.mark.filterwarnings("ignore:the map .* has room for")  # there is none in a made-up crew
@pytest.mark.parametrize(
    "simulator",
    [
        {"npc": 3, "traffic": "traffic_manager"},
        {"npc": 3, "command": "CarlaUE4.sh {port}"},
    ],
)
def test_a_worker_with_a_traffic_manager_does_not_try_again(env, simulator):
    env = env(**simulator)
    env.reset()
    failed(env, "error", "tick: the simulator says no")
    env.reset()
    assert len(FakeCrew.made) == 2 and FakeCrew.made[0].reopened == 0


def test_a_minicarla_is_always_replaced(env):
    env = env()
    env.reset()
    failed(env)
    env.reset()
    assert FakeCrew.made[0].server.stopped and FakeCrew.made[1].taken_over is None and env.restarts == 1


@pytest.mark.parametrize("frame", [1, 3, 0])
def test_a_step_that_is_not_one_tick_is_none(env, frame):
    env = env()
    env.reset()
    env.step(ACTION)
    FakeCrew.script.append(frame)
    _, reward, terminated, truncated, info = env.step(ACTION)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert f"from frame 1 to frame {frame} instead of 2" in info["fault"]
    assert info["frame"] == 1, "the last whole step's"


def test_failures_are_timed(env, tmp_path):
    env = env()
    env.reset()
    assert env.downtime_s == 0.0
    failed(env)
    env.reset()
    assert env.downtime_s > 0.0
    lines = [json.loads(line) for line in (tmp_path / "recoveries.jsonl").read_text().splitlines()]
    assert len(lines) == 1 and lines[0]["seconds"] == pytest.approx(env.downtime_s, abs=1e-3)


@pytest.mark.parametrize(
    ("simulator", "age"),
    [
        ({"renew_after_episodes": 3}, {}),
        ({"renew_after_hours": 2.0}, {"hours": 2.1}),
        ({"renew_above_gib": 4.0}, {"memory": 5 << 30}),
    ],
)
def test_a_server_is_renewed_in_good_order_before_it_fails(env, tmp_path, simulator, age):
    env = env(**simulator)
    for _ in range(3):
        env.reset()
    server = FakeCrew.made[0].server
    server.hours, server.memory = age.get("hours", 0.0), age.get("memory", 0)
    assert len(FakeCrew.made) == 1
    env.reset()
    assert len(FakeCrew.made) == 2 and FakeCrew.made[0].closed and not FakeCrew.made[0].killed
    assert (env.renewals, env.restarts, env.incidents) == (1, 0, [])
    assert json.loads((tmp_path / "renewals.jsonl").read_text())["why"]
    env.reset()
    assert len(FakeCrew.made) == 2


def test_after_a_missed_deadline_the_next_worker_has_more_time(env):
    env = env(client_timeout_s=5, map_deadline_s=60)
    env.reset()
    failed(env, "deadline", "no answer within the deadline")
    env.reset()
    simulators = [crew.config.simulator for crew in FakeCrew.made]
    assert [s.client_timeout_s for s in simulators] == [5, 10]
    assert [s.map_deadline_s for s in simulators] == [60, 120]
    env.step(ACTION)
    failed(env)
    env.reset()
    assert FakeCrew.made[-1].config.simulator.client_timeout_s == 5


def test_a_crash_loop_is_given_up(env):
    env = env(max_restarts_per_hour=3)
    for _ in range(3):
        env.reset()
        env.step(ACTION)
        failed(env)
    env.reset()
    FakeCrew.script.append(CrewFailure("worker-died", "the worker ended: killed by SIGSEGV"))
    with pytest.raises(SupervisionError, match=r"4 times within an hour.*killed by SIGSEGV.*Logs: "):
        env.step(ACTION)
    assert env.incidents[-1].action == "give up"


def test_only_a_retry_with_what_failed_is_impatient(env, monkeypatch):
    """Same worker, new worker on the same server, new server: the first two get the time that is usual."""
    limits: list[float] = []
    answer = FakeCrew.answer

    def noted(crew, deadline):
        if crew.request["do"] == "reset":
            limits.append(round(deadline - supervised.time.monotonic()))
        return answer(crew, deadline)

    monkeypatch.setattr(FakeCrew, "answer", noted)
    env = env(command="CarlaUE4.sh {port}", client_timeout_s=2, reset_deadline_s=30)
    env.reset()
    env.step(ACTION)
    failed(env, "error", "tick: time-out of 2000ms")
    FakeCrew.script.append(CrewFailure("error", "no again"))
    FakeCrew.script.append(CrewFailure("deadline", "no answer within the deadline"))
    env.reset()
    assert limits == [30, 2, 2, 60]
    assert FakeCrew.made[0].reopen_deadline == 2
    assert [crew.config.simulator.map_deadline_s for crew in FakeCrew.made] == [60, 2, 120]


def test_a_worker_that_hangs_with_a_new_client_as_well_costs_the_server(env):
    env = env(command="CarlaUE4.sh {port}")
    env.reset()
    env.step(ACTION)
    failed(env, "error", "tick: time-out of 2000ms")
    FakeCrew.script.append(CrewFailure("deadline", "no answer within the deadline"))
    env.reset()
    first, second = FakeCrew.made
    assert first.reopened == 1 and first.server.stopped and second.taken_over is None


def reset_in_a_thread(env):
    """Begin a reset; what it raises is put into the list."""
    raised = []

    def reset():
        try:
            env.reset()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=reset)
    thread.start()
    return thread, raised


def test_a_crew_that_comes_up_after_the_end_is_ended(env, monkeypatch):
    """Nobody can end what is only just being started: whoever has started it does."""
    env, starts, closed = env(), threading.Event(), threading.Event()

    class SlowCrew(FakeCrew):
        def __init__(self, *arguments):
            starts.set()
            assert closed.wait(20)
            super().__init__(*arguments)

    monkeypatch.setattr(env._mine, "_make", SlowCrew)
    thread, raised = reset_in_a_thread(env)
    assert starts.wait(20)
    env.abort()
    env.close()
    closed.set()
    thread.join(20)
    assert [type(error) for error in raised] == [gymnasium.error.ClosedEnvironmentError]
    assert [crew.closed for crew in FakeCrew.made] == [True] and not env.incidents


def test_the_pause_before_another_start_ends_with_the_environment(env, monkeypatch):
    env = env()
    env.reset()
    failed(env)
    monkeypatch.setattr(RestartBudget, "pause", 600.0)
    thread, raised = reset_in_a_thread(env)
    thread.join(0.2)
    assert thread.is_alive()
    env.abort()
    thread.join(20)
    assert [type(error) for error in raised] == [gymnasium.error.ClosedEnvironmentError]
