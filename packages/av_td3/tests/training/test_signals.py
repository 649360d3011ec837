"""Signals while a command sets up."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from av_td3.training import checkpoint
from av_td3.training.run_directory import RunDirectory
from av_td3.training.signals import raise_if_received, terminable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_swallowed_interrupt_is_raised_again(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), terminable():
        with contextlib.suppress(BaseException):  # as a library's bare except does
            os.kill(os.getpid(), number)
            signal.pause()
        raise_if_received()
    assert signal.getsignal(number) is before
    raise_if_received()  # what is past is past


def test_without_a_signal_nothing_is_raised():
    with terminable():
        raise_if_received()


def test_under_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
            raise_if_received()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_what_is_stuck_in_one_call():
    """A mutex that is locked twice: no signal interrupts the wait, as in one long call into C++."""
    program = """
        import ctypes
        from av_td3.training.signals import StopRequest
        StopRequest.HARD_S = 0.2
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        with StopRequest().on_signals():
            libc.pthread_mutex_lock(mutex)
            print("stuck", flush=True)
            libc.pthread_mutex_lock(mutex)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None, "the first signal asks"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


SERVER = """
    echo $$ > {0}/pid
    if [ -e {0}/up ]; then exec sleep 600; fi
    touch {0}/up
    exec {1} -m minicarla serve --port $1 --map loop --synchronous
"""
"""A simulator that comes up once, and never again."""


def awaited(happened, seconds=120):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("came_up", [False, True])
def test_a_run_whose_simulator_does_not_come_up_obeys_and_leaves_nothing(tmp_path, came_up):
    """A process of its own, and a real signal; before the first episode, and after some."""
    (tmp_path / "server.sh").write_text(SERVER.format(tmp_path, sys.executable))
    if not came_up:
        (tmp_path / "up").touch()
    run = RunDirectory(tmp_path / "run")
    settings = {
        "env.simulator.command": f"sh {tmp_path}/server.sh {{port}}",
        "train.steps": 100_000,
        "train.learning_starts": 100_000,
        "exploration.warmup_steps": 100_000,
        "train.checkpoint_interval": 100_000,
        "evaluation.interval": 100_000,
    }
    options = [f"--set={key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "av_td3", "train", "--preset=debug", f"--run-dir={run.path}", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if came_up:
            awaited(lambda: run.status().get("step", 0) >= 100)
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        trainer = psutil.Process(process.pid)
        awaited(lambda: "sleep" in [child.name() for child in trainer.children(recursive=True)])
        children = trainer.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        # A server has 60 s to start, and there are several tries.
        assert process.wait(30) == 130
        awaited(lambda: not any(child.is_running() for child in children), 20)
        if came_up:
            assert run.status()["state"] == "interrupted"
            assert checkpoint.newest_good(run.checkpoints)[1]["step"] == run.status()["step"] >= 100
        else:
            assert not run.path.exists(), "a run that has made no step"
    finally:
        process.kill()
        print(process.communicate()[0])
