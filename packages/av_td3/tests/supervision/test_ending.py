"""Forks, and servers that do not come back."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from av_td3.config import EnvConfig
from av_td3.supervision.supervised import SupervisedEnv, SupervisionError


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["sys.exit(0)", "env.close(); sys.exit(0)", "del env; sys.exit(0)"])
def test_a_forked_process_that_ends_leaves_the_parents_simulator_alone(ending):
    program = f"""
        import os, sys
        from av_td3.supervision.supervised import SupervisedEnv
        env = SupervisedEnv(preset="debug")
        env.reset(seed=0)
        env.step([0.0, 0.5])
        child = os.fork()
        if child == 0:
            for use in (env.reset, lambda: env.step([0.0, 0.0]), lambda: env.send([0.0, 0.0])):
                try:
                    use()
                except RuntimeError as error:
                    assert "forked" in str(error)
                else:
                    os._exit(1)
            {ending}
        assert os.waitpid(child, 0)[1] == 0
        frame = env.step([0.0, 0.5])[4]["frame"]
        print(frame, len(env.incidents), env.log_dir.is_dir(), env.log_dir)
        env.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    frame, incidents, has_folder, folder = done.stdout.split()
    assert (frame, incidents, has_folder) == ("2", "0", "True"), done.stderr
    assert not Path(folder).exists() and done.returncode == 0


@pytest.fixture
def mortal_server():
    """(process, address) of a minicarla that a test may kill."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", "loop"],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process, process.stdout.readline().split(" ready on ")[1].split()[0]
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_when_a_server_of_somebody_else_stays_away_it_is_said_what_to_do(mortal_server):
    process, address = mortal_server
    simulator = {"address": address, "map": "loop", "client_timeout_s": 0.5, "max_consecutive_restarts": 1}
    with SupervisedEnv(EnvConfig.model_validate({"simulator": simulator})) as env:
        env.reset(seed=0)
        process.kill()
        process.wait()
        assert env.step([0.0, 0.5])[4]["termination"] == "simulator_fault"
        with pytest.raises(SupervisionError, match=r"2 times in a row.*no CARLA server answers") as raised:
            env.reset()
        text = str(raised.value)
        assert f"Start the CARLA server at {address} again" in text
        folder = Path(text.rsplit("Logs: ")[1])
    # The message names the folder, so it must outlive the environment.
    assert list(folder.glob("*-worker.log"))
    shutil.rmtree(folder)
