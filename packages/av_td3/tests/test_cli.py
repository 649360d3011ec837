"""The command line as a user meets it: real processes, real signals, one clear line each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

AV_TD3 = [sys.executable, "-m", "av_td3"]
SMALL = [
    *("--preset", "debug", "--set", "agent.hidden=[32]", "--set", "agent.feature_size=32"),
    *("--set", "train.threads=1", "--set", "evaluation.final_episodes=2"),
]


def run(*arguments: str, timeout: float = 120, **kwargs) -> subprocess.CompletedProcess:
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run(
        [*AV_TD3, *arguments], capture_output=True, text=True, timeout=timeout, env=environment, **kwargs
    )


def one_line_error(done: subprocess.CompletedProcess, status: int) -> str:
    """The error: one line on stderr, no traceback, this status."""
    assert done.returncode == status, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error:"), done.stderr
    return lines[0]


def family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(processes: list[psutil.Process], within: float = 10.0) -> bool:
    _, alive = psutil.wait_procs(processes, within)
    return not alive


def wait_for_step(path: Path, step: int, process: subprocess.Popen, timeout: float = 90) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if json.loads((path / "status.json").read_text()).get("step", 0) >= step:
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached: {process.communicate(timeout=5)}")


def start(path: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*AV_TD3, "train", *SMALL, "--run-dir", str(path), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--preset", "quikc"], ["quikc", "did you mean 'quick'"]),
        (["--set", "agent.actor_lrr=1"], ["agent.actor_lrr", "did you mean 'agent.actor_lr'"]),
        (["--set", "agent.tau=2"], ["agent.tau", "less than or equal to 1"]),
        (["--set", "nonsense"], ["section.key=value"]),
        (["--set", "a[/b]c[red]"], ["a[/b]c[red]"]),
        (["--config", "/nowhere.yaml"], ["/nowhere.yaml"]),
        (["--resume", "/nowhere"], ["/nowhere", "no run directory"]),
        (["--map", "atlantis"], ["atlantis"]),
        (["--set", "replay.capacity=100000000000"], ["replay.capacity", "GiB"]),
        (["--carla", "127.0.0.1:1", "--set", "env.simulator.client_timeout_s=1"], ["127.0.0.1:1"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, arguments, words):
    target = [] if "--resume" in arguments else ["--run-dir", str(tmp_path / "run")]
    message = one_line_error(run("train", *arguments, *target), 2)
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()


def test_a_directory_in_use_is_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    message = one_line_error(run("train", *SMALL, "--run-dir", str(tmp_path / "run")), 2)
    assert "not empty" in message
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


def test_a_server_of_another_version_is_refused(tmp_path):
    code = "import minicarla, minicarla.cli; minicarla.CARLA_VERSION = '0.9.15'; "
    for module in ("minicarla.world.calls.episode", "minicarla.server"):
        code += f"import {module} as m; setattr(m, 'CARLA_VERSION', '0.9.15'); "
    code += "minicarla.cli.main()"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", str(port), "--map", "loop"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert "ready" in server.stdout.readline()
        done = run("train", *SMALL, "--carla", f"127.0.0.1:{port}", "--run-dir", str(tmp_path / "run"))
        message = one_line_error(done, 2)
        assert "0.9.15" in message and "0.9.16" in message
        assert server.poll() is None, "a server that was attached to must not be ended"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_kill_minus_nine_and_resume(tmp_path):
    path = tmp_path / "run"
    process = start(path)
    wait_for_step(path, 350, process)
    children = family(process.pid)
    assert len(children) >= 2  # worker and server
    process.kill()
    process.communicate()
    assert gone(children), "worker or server outlived the learner"

    done = run("train", "--resume", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed from step_000000" in done.stdout
    status = json.loads((path / "status.json").read_text())
    assert status["state"] == "finished" and status["step"] == 600
    final = json.loads((path / "evaluations" / "final.json").read_text())
    assert {"trained", "untrained", "random", "classical"} <= set(final["agents"])
    assert (path / "videos" / "final.mp4").stat().st_size > 1000
    provenance = json.loads((path / "provenance.json").read_text())
    assert provenance["versions"]["carla"] == "0.9.16" and len(provenance["resumed"]) == 1
    tables = done.stdout[done.stdout.index("held-out episodes per agent") :].splitlines()
    assert max(len(line) for line in tables if str(tmp_path) not in line) <= 80

    # what was made can be evaluated, and a damaged checkpoint is said to be damaged
    evaluated = run("evaluate", str(path), "--episodes", "2", "--no-video", "--no-baselines")
    assert evaluated.returncode == 0, evaluated.stderr
    for state in (path / "checkpoints").glob("*/state.json"):
        state.write_text("{}")
    assert "no usable checkpoint" in one_line_error(run("evaluate", str(path), "--no-video"), 1)


def test_ctrl_c_saves_and_leaves_no_process(tmp_path):
    path = tmp_path / "run"
    process = start(path)
    wait_for_step(path, 50, process)
    children = family(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert f"--resume {path}" in out.replace("\n", "")
    assert gone(children)
    status = json.loads((path / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert list((path / "checkpoints").glob("step_*/agent.safetensors"))


def test_ctrl_c_before_the_first_step_leaves_nothing(tmp_path):
    path = tmp_path / "run"
    process = start(path)
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_is_one_line_and_no_half_checkpoint(small_disk):
    done = run("train", *SMALL, "--run-dir", str(small_disk / "run"))
    message = one_line_error(done, 1)
    assert "No space left" in message or "disk is full" in message
    checkpoints = small_disk / "run" / "checkpoints"
    assert not checkpoints.exists() or not [p for p in checkpoints.iterdir() if p.name.startswith(".")]
    for finished in checkpoints.glob("step_*") if checkpoints.exists() else []:
        assert (finished / "state.json").stat().st_size > 0


def test_help_and_presets():
    assert "train" in run("--help").stdout
    assert run("presets").stdout.split() == ["debug", "paper", "quick"]
    assert run("--version").stdout.startswith("av-td3 0.")
