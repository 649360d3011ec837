"""One server serves one environment at a time; whoever comes second is told who is there.

Real clients in processes of their own, on a minicarla that none of them has started.
"""

import contextlib
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from av_td3.config import EnvConfig
from av_td3.driving.errors import ServerTakenError
from av_td3.driving.ownership import ServerClaim
from av_td3.supervision.supervised import SupervisedEnv

ACTION = np.array([0.0, 0.4], np.float32)


def config(address, **simulator):
    return EnvConfig.model_validate({"simulator": {"address": address, "map": "loop", **simulator}})


@contextlib.contextmanager
def driving(address, split="train", **simulator):
    with SupervisedEnv(config(address, **simulator), split) as env:
        env.reset(seed=1)
        yield env


@pytest.mark.slow
def test_a_step_in_which_somebody_else_ticks_is_an_incident(server, foreign):
    with driving(server) as env:
        assert [env.step(ACTION)[4]["frame"] for _ in range(3)] == [1, 2, 3]
        foreign("tick")
        _, reward, terminated, truncated, info = env.step(ACTION)
        assert (reward, terminated, truncated, info["termination"]) == (0.0, False, True, "simulator_fault")
        assert info["frame"] == 3, "the last whole step's"
        assert "advances the server" in info["fault"] and f"process {foreign.process.pid} " in info["fault"]
        assert [incident.kind for incident in env.incidents] == ["error"]
        env.reset(seed=1)
        assert env.step(ACTION)[4]["frame"] == 1 and env.restarts == 1


@pytest.mark.slow
def test_somebody_elses_tick_between_two_episodes_is_noticed_as_well(server, foreign):
    with driving(server) as env:
        foreign("tick")
        observation, _ = env.reset(seed=2)
        assert "advances the server" in env.incidents[0].text and env.restarts == 1
        again, _ = env.reset(seed=2)
        assert np.array_equal(observation["vector"], again["vector"])


@pytest.mark.slow
def test_a_second_environment_is_refused_by_name_and_the_first_goes_on(server):
    """What ``av-td3 evaluate --carla`` is, beside a training."""
    program = """
        import sys
        from av_td3.supervision.supervised import SupervisedEnv
        from av_td3.driving.errors import ServerTakenError
        for map in ("loop", "town"):
            with SupervisedEnv(address=sys.argv[1], map=map, split="held_out") as env:
                try:
                    env.reset(seed=0)
                except ServerTakenError as error:
                    print(error, len(env.incidents))
    """
    with driving(server) as env:
        env.step(ACTION)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), server.replace("127.0.0.1", "localhost")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        frames = [env.step(ACTION)[4]["frame"] for _ in range(3)]
        assert frames == [2, 3, 4] and env.incidents == []
        lines = done.stdout.splitlines()
        assert len(lines) == 2, done.stderr
        for line in lines:
            assert f"is in use by process {os.getpid()} (" in line and line.endswith(" 0")


def test_a_server_that_a_foreign_client_ticks_is_refused_by_name(server, foreign):
    foreign("synchronous on")
    foreign("keep-ticking")
    with (
        SupervisedEnv(config(server)) as env,
        pytest.raises(ServerTakenError, match=f"is ticked by process {foreign.process.pid} "),
    ):
        env.reset(seed=0)
    assert env.incidents == []
    foreign("synchronous off")


@pytest.mark.slow
@pytest.mark.parametrize("map_name", ["loop", "town"])
def test_a_training_of_another_machine_that_is_busy_between_two_steps_is_refused_by_name(
    server, foreign, map_name
):
    """It does not tick while it is looked for, only after this environment has ticked once."""
    foreign("synchronous on")
    foreign("spawn av_td3:elsewhere:7")
    foreign("tick")
    foreign("go-on-when-ticked")
    try:
        with (
            SupervisedEnv(config(server, map=map_name)) as env,
            pytest.raises(ServerTakenError, match="is in use by process 7 of the machine elsewhere"),
        ):
            env.reset(seed=0)
        assert env.incidents == [] and foreign("map").endswith("loop") and foreign("vehicles") == "1"
    finally:
        foreign("destroy")
        foreign("synchronous off")


@pytest.mark.slow
@pytest.mark.parametrize("map_name", ["loop", "town"])
def test_what_a_process_of_another_machine_has_left_is_removed(server, foreign, map_name):
    """Nobody ticks: it is gone."""
    program = """
        import os, sys
        from av_td3.driving import session
        session.REMOTE_PROBE_SECONDS = 1.0
        driving = session.DrivingSession(sys.argv[1], sys.argv[2], 5.0, 30.0)
        print(driving.frame > 0, len(driving.world.get_actors().filter("vehicle.*")), flush=True)
        driving.close()
        print(driving.world.get_settings().synchronous_mode, flush=True)
        driving.client.load_world("loop")
        os._exit(0)
    """
    foreign("synchronous on")
    foreign("spawn av_td3:elsewhere:7")
    foreign("tick")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), server, map_name],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["True", "0", "False"], done.stderr


@pytest.mark.slow
def test_an_incident_names_a_second_client_of_another_machine(server, foreign):
    with driving(server) as env:
        foreign("spawn av_td3:elsewhere:7")
        foreign("tick")
        assert "process 7 of the machine elsewhere" in env.step(ACTION)[4]["fault"]
        foreign("destroy")
        env.reset(seed=1)  # removes what the worker that failed has left


def test_a_world_with_foreign_vehicles_is_not_replaced_by_another_map(server, foreign):
    foreign("spawn")
    try:
        with (
            SupervisedEnv(config(server, map="town")) as env,
            pytest.raises(ServerTakenError, match=r"map loop with 1 vehicle.*role_name 'hero'"),
        ):
            env.reset(seed=0)
        assert foreign("map").endswith("loop") and foreign("vehicles") == "1"
    finally:
        foreign("destroy")


@pytest.mark.slow
def test_two_environments_of_one_process_take_turns_between_episodes(server, foreign):
    """Training and its evaluation on one server: neither sees the other's cars."""
    with driving(server, npc=2) as train, SupervisedEnv(config(server, npc=1), "held_out") as held_out:
        with pytest.raises(ServerTakenError, match="another environment of this process"):
            held_out.reset(seed=1)
        before = train.step(ACTION)[0]
        while not train.step(np.array([1.0, 1.0], np.float32))[2]:
            pass
        held_out.reset(seed=1)
        assert held_out.step(ACTION)[4]["frame"] == 1
        while not held_out.step(np.array([1.0, 1.0], np.float32))[2]:
            pass
        assert foreign("vehicles") == "2", "an ego vehicle and one other"
        held_out.close()
        train.reset(seed=1)
        assert np.array_equal(train.step(ACTION)[0]["vector"], before["vector"])
        assert train.incidents == held_out.incidents == [] and train.restarts == 0


@pytest.mark.slow
def test_nobody_comes_in_between_while_training_and_evaluation_take_turns(server):
    """An environment that gives its server up to another of its process keeps other programs out."""
    program = """
        import sys
        from av_td3.driving.errors import ServerTakenError
        from av_td3.supervision.supervised import SupervisedEnv
        with SupervisedEnv(address=sys.argv[1], map="loop") as env:
            try:
                env.reset(seed=0)
                print("drives")
            except ServerTakenError as error:
                print(error)
    """

    def second():
        command = [sys.executable, "-c", textwrap.dedent(program), server]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    with SupervisedEnv(config(server)) as train:
        train.reset(seed=1)
        while not train.step(np.array([1.0, 1.0], np.float32))[2]:
            pass
        with SupervisedEnv(config(server), "held_out") as held_out:
            held_out.reset(seed=1)  # ends the worker of the training
        assert f"is in use by process {os.getpid()} " in second(), "no worker runs now"
    assert second() == "drives\n", "closed environments keep nobody out"


def test_each_of_many_refusals_names_the_owner():
    claim = ServerClaim("127.0.0.1", 3)
    for _ in range(20):
        with pytest.raises(ServerTakenError, match=f"in use by process {os.getpid()} "):
            ServerClaim("127.0.0.1", 3)
    claim.release()


def test_a_forked_process_does_not_keep_the_claim_of_its_parent():
    claim = ServerClaim("127.0.0.1", 1)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        with pytest.raises(ServerTakenError, match=f"process {os.getpid()} "):
            ServerClaim("localhost", 1)
        claim.release()
        ServerClaim("localhost", 1).release()
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)
