"""The command line as a user meets it: real processes, real signals, one clear line each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml
from typer.testing import CliRunner

import av_td3
from av_td3.cli import app
from av_td3.config import config_from_dict, load_config
from av_td3.training.run_directory import RunDirectory

from .training.test_trainer import scalars

AV_TD3 = [sys.executable, "-m", "av_td3"]
TOY = {
    "env.camera.size": 36,
    "env.camera.width": 36,
    "env.camera.height": 36,
    "env.termination.max_steps": 20,
    "agent.feature_size": 8,
    "agent.hidden": "[8]",
    "agent.batch_size": 4,
    "agent.critic_warmup": 2,
    "exploration.warmup_steps": 20,
    "train.learning_starts": 20,
    "train.steps": 300,
    "train.threads": 1,
    "train.log_interval": 10,
    "train.checkpoint_interval": 20,
    "evaluation.interval": 100,
    "evaluation.final_episodes": 2,
}
"""A small picture, tiny networks and short episodes: a run of seconds in which all parts take part."""
SMALL = ["--preset", "debug", *(part for item in TOY.items() for part in ("--set", "{}={}".format(*item)))]


def run(*arguments: str, timeout: float = 120, **kwargs) -> subprocess.CompletedProcess:
    """The command in a process of its own."""
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run(
        [*AV_TD3, *arguments], capture_output=True, text=True, timeout=timeout, env=environment, **kwargs
    )


def invoke(*arguments: str) -> subprocess.CompletedProcess:
    """The command within this process, which has imported everything already; children are real."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


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


def test_as_process_1_it_ends_when_told_to_before_anything_else_has_begun() -> None:
    # The kernel drops a signal to process 1 of a container for which it has no handler.
    program = (
        "import os, sys; real = os.getpid(); os.getpid = lambda: 1\n"
        "import av_td3.cli as cli\n"
        f"cli.app = lambda: os.kill(real, {int(signal.SIGTERM)})\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")


@pytest.mark.slow
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
        (["--resume", "/nowhere", "--npc", "3"], ["take away --npc"]),
        (["--new-replay"], ["--new-replay", "give --resume RUN"]),
        (["--map", "atlantis"], ["atlantis"]),
        (["--map", "nowhere.xodr"], ["nowhere.xodr"]),
        (["--inject", "gremlins"], ["gremlins", "faults list"]),
        (["--inject", "detached-actor", "--set", "agent.execution=graphs"], ["--inject", "execution=eager"]),
        (["--set", "replay.capacity=100000000000"], ["replay.capacity", "GiB"]),
        (["--set", "agent.batch_size=5001"], ["agent.batch_size (5001)", "replay.capacity (5000)"]),
        (["--set", "train.device=cuda:99"], ["train.device", "'cuda:99'", "cpu"]),
        (["--set", "agent.execution=graphs", "--set", "train.device=cpu"], ["execution", "needs a GPU"]),
        (["--set", "train.envs=0"], ["train.envs = 0"]),
        (["--set", "train.device=nonsense"], ["train.device", "'nonsense'", "cpu"]),
        (["--carla", "127.0.0.1:1", "--set", "env.simulator.client_timeout_s=1"], ["127.0.0.1:1"]),
        (["--carla", "127.0.0.1:99999"], ["127.0.0.1:99999", "host:port"]),
        (["--carla", ":2000"], [":2000", "host:port"]),
        (["--steps", "1000000"], ["1,000,000 steps", "validate"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, arguments, words):
    target = [] if "--resume" in arguments else ["--run-dir", str(tmp_path / "run"), "--preset", "debug"]
    message = one_line_error(invoke("train", *target, *arguments), 2)
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_input_ends_the_process_with_one_line(tmp_path):
    target = str(tmp_path / "run")
    done = run("train", "--preset", "debug", "--set", "train.device=nonsense", "--run-dir", target)
    assert "nonsense" in one_line_error(done, 2)
    assert not (tmp_path / "run").exists()


def test_a_directory_in_use_is_not_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    message = one_line_error(invoke("train", *SMALL, "--run-dir", str(tmp_path / "run")), 2)
    assert "not empty" in message
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


@pytest.mark.slow
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
        done = invoke("train", *SMALL, "--carla", f"127.0.0.1:{port}", "--run-dir", str(tmp_path / "run"))
        message = one_line_error(done, 2)
        assert "0.9.15" in message and "0.9.16" in message
        assert server.poll() is None, "a server that was attached to must not be ended"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory):
    """A run that was killed with SIGKILL and finished by the same command; with what that printed."""
    path = tmp_path_factory.mktemp("killed") / "run"
    process = start(path)
    wait_for_step(path, 120, process)
    children = family(process.pid)
    assert len(children) >= 2  # worker and server
    process.kill()
    process.communicate()
    assert gone(children), "worker or server outlived the learner"
    return path, invoke("train", *SMALL, "--run-dir", str(path))


@pytest.mark.slow
def test_kill_minus_nine_and_resume(killed_and_resumed, tmp_path):
    path, done = killed_and_resumed
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed from step_000000" in done.stdout
    status = json.loads((path / "status.json").read_text())
    assert status["state"] == "finished" and status["step"] == 300
    final = json.loads((path / "evaluations" / "final.json").read_text())
    assert {"trained", "untrained", "random", "classical"} <= set(final["agents"])
    assert (path / "videos" / "final.mp4").stat().st_size > 1000
    provenance = json.loads((path / "provenance.json").read_text())
    assert provenance["versions"]["carla"] == "0.9.16" and len(provenance["resumed"]) == 1
    tables = done.stdout[done.stdout.index("held-out episodes per agent") :].splitlines()
    told = ("results:", "best agent:", "TensorBoard:", "diagnosis:", "video:", "Map ")
    assert max(len(line) for line in tables if not line.startswith(told)) <= 80


@pytest.mark.slow
def test_each_evaluation_has_a_folder_of_its_own(killed_and_resumed, tmp_path):
    path, _ = killed_and_resumed
    owned = [
        path / "evaluations" / "final.json",
        path / "evaluations" / "final.md",
        path / "videos/final.mp4",
    ]
    before = {file: file.read_bytes() for file in owned}
    said = invoke("evaluate", str(path), "--episodes", "2", "--no-video", "--no-baselines").stdout
    options = ["--checkpoint", "best", "--map", "town", "--npc", "1", "--device", "cpu", "--no-video"]
    copy = tmp_path / "copy.json"
    again = invoke("evaluate", str(path), *options, "--episodes", "2", "--no-baselines", "--json", str(copy))
    assert again.returncode == 0, again.stderr
    assert {file: file.read_bytes() for file in owned} == before
    folders = [p for p in (path / "evaluations").iterdir() if p.is_dir()]
    assert len(folders) == 2 and all(str(folder) in said + again.stdout for folder in folders)
    (best,) = [folder for folder in folders if folder.name.endswith("-best")]
    assert (best / "evaluation.md").exists()
    conditions = json.loads((best / "evaluation.json").read_text())["conditions"]
    assert conditions == json.loads(copy.read_text())["conditions"]
    assert conditions["checkpoint"] == str(path / "policies" / "best.safetensors")
    assert conditions["map"] == "town" and conditions["device"] == "cpu"
    traffic = {"wanted": 1, "there": [1], "placement": "anywhere", "speed": None, "driven_by": "auto"}
    assert conditions["traffic"] == traffic
    assert conditions["versions"]["av-td3"] and conditions["simulator"].startswith("minicarla")
    assert "Map town, 1 other vehicles" in again.stdout + (best / "evaluation.md").read_text()


@pytest.mark.slow
def test_evaluations_that_cannot_be_made(killed_and_resumed, tmp_path):
    path, _ = killed_and_resumed
    there = sorted(p.name for p in (path / "evaluations").iterdir())
    one_line_error(invoke("evaluate", str(tmp_path)), 2)
    message = one_line_error(invoke("evaluate", str(path), "--checkpoint", "7"), 1)
    assert "'7'" in message and "best" in message
    assert "atlantis" in one_line_error(invoke("evaluate", str(path), "--map", "atlantis"), 2)
    assert "cuda:99" in one_line_error(invoke("evaluate", str(path), "--device", "cuda:99"), 2)
    missing = str(tmp_path / "missing" / "file.json")
    assert "missing" in one_line_error(invoke("evaluate", str(path), "--json", missing), 2)
    damaged = tmp_path / "run"
    shutil.copytree(path, damaged)
    for state in (damaged / "checkpoints").glob("*/state.json"):
        state.write_text("{}")
    assert "no usable checkpoint" in one_line_error(invoke("evaluate", str(damaged), "--no-video"), 1)
    assert sorted(p.name for p in (path / "evaluations").iterdir()) == there


@pytest.mark.slow
def test_a_finished_run_is_trained_further_only_when_asked(killed_and_resumed, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(killed_and_resumed[0], path)
    before = {p: p.read_bytes() for p in (path / "evaluations").glob("final.*")}
    for command in (["--resume", str(path)], [*SMALL, "--run-dir", str(path)]):
        done = invoke("train", *command)
        assert done.returncode == 0 and "nothing is left to do" in done.stdout and "--steps" in done.stdout
    assert {p: p.read_bytes() for p in (path / "evaluations").glob("final.*")} == before
    assert "larger --steps" in one_line_error(invoke("train", "--resume", str(path), "--steps", "300"), 2)
    long = one_line_error(invoke("train", "--resume", str(path), "--steps", "1000000"), 2)
    assert "validate" in long and "steps: 300\n" in (path / "config.yaml").read_text()
    other = ["--seed", "1", "--set", "agent.tau=0.01", "--set", "train.device=cpu", "--steps", "330"]
    message = one_line_error(invoke("train", *SMALL, "--run-dir", str(path), *other), 2)
    assert "agent.tau is 0.005 there and 0.01 here" in message and "train.seed is 0 there and 1" in message
    assert "device" not in message and "train.steps" not in message and f"--resume {path}" in message
    fewer = one_line_error(invoke("train", *SMALL, "--run-dir", str(path), "--steps", "200"), 2)
    assert "train.steps is 300 there and 200 here" in fewer
    faulty = one_line_error(invoke("train", *SMALL, "--run-dir", str(path), "--inject", "detached-actor"), 2)
    assert "--inject is none there and detached-actor here" in faulty
    # Copied here from where it was trained, it goes on by the same command with more steps.
    longer = invoke("train", *SMALL, "--run-dir", str(path), "--steps", "330")
    assert longer.returncode == 0, longer.stderr
    status = json.loads((path / "status.json").read_text())
    assert status["state"] == "finished" and status["step"] == 330
    assert "steps: 330\n" in (path / "config.yaml").read_text()
    kept = path / "evaluations" / "step_000000300_final.json"
    assert kept.read_bytes() == before[path / "evaluations" / "final.json"]
    final = json.loads((path / "evaluations" / "final.json").read_text())
    assert final["conditions"]["step"] == 330


def test_a_finished_run_says_so_before_torch_is_loaded(tmp_path):
    run = RunDirectory.create(tmp_path / "run", load_config("debug"), {})
    run.write_status("finished", step=300)
    (run.evaluations / "final.json").write_text("{}")
    code = "import sys; sys.modules['torch'] = None; from av_td3.cli import main; main()"
    command = [sys.executable, "-c", code, "train", "--resume", str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "nothing is left to do" in done.stdout, done.stderr


@pytest.mark.slow
def test_ctrl_c_saves_and_leaves_no_process(tmp_path):
    path = tmp_path / "run"
    process = start(path, "--set", "train.steps=100000")
    wait_for_step(path, 50, process)
    children = family(process.pid)
    # Meanwhile nobody else may train in this folder.
    message = one_line_error(invoke("train", "--resume", str(path)), 2)
    assert f"process {process.pid} trains in it" in message
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert f"--resume {path}" in out.replace("\n", "")
    assert gone(children)
    status = json.loads((path / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert list((path / "checkpoints").glob("step_*/agent.safetensors"))


@pytest.mark.slow
def test_a_resumed_run_keeps_its_injected_fault(tmp_path):
    path = tmp_path / "run"
    options = [*SMALL, "--steps", "40", "--inject", "detached-actor", "--run-dir", str(path)]
    first = invoke("train", *options)
    assert first.returncode == 0 and "injected fault: detached-actor" in first.stdout, first.stderr
    again = invoke("train", "--resume", str(path), "--steps", "80")
    assert again.returncode == 0 and "injected fault: detached-actor" in again.stdout, again.stderr
    rows = scalars(path)["gradients/actor_action_path_norm"]
    assert [value for step, value in rows if step > 40] and {value for _, value in rows} == {0.0}
    assert "injected fault" in one_line_error(invoke("validate", "--resume", str(path)), 2)


@pytest.mark.slow
def test_an_external_server_that_is_gone(tmp_path):
    """Training gives up, and says how to go on once there is a server again."""
    path = tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "minicarla", "serve", "--port", str(port), "--map", "loop"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "ready" in server.stdout.readline()
        limits = ["client_timeout_s=0.5", "max_consecutive_restarts=1", "start_deadline_s=5"]
        options = [part for limit in limits for part in ("--set", f"env.simulator.{limit}")]
        killer = threading.Thread(target=lambda: (wait_for_checkpoint(path), server.kill()))
        killer.start()
        done = invoke(
            "train",
            *SMALL,
            "--steps",
            "100000",
            "--carla",
            f"127.0.0.1:{port}",
            *options,
            "--run-dir",
            str(path),
        )
        killer.join()
    finally:
        server.kill()
        server.communicate()
    message = one_line_error(done, 1)
    assert f"train --resume {path}" in message and f"127.0.0.1:{port}" in message
    kept = int(message.split("kept at step ")[1].split(";")[0])
    saved = json.loads((path / "checkpoints" / f"step_{kept:09d}" / "state.json").read_text())
    assert saved["replay"]["files"]


def wait_for_checkpoint(path: Path, timeout: float = 90) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and not list(path.glob("checkpoints/step_*")):
        time.sleep(0.05)


@pytest.mark.slow
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
    """A real file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_no_half_checkpoint(small_disk):
    """Training goes on; what it has learned can be saved nowhere at its end, and that is an error."""
    done = invoke("train", *SMALL, "--run-dir", str(small_disk / "run"), "--steps", "60")
    message = one_line_error(done, 1)
    assert "could not write the checkpoint of step 60" in message and "No space left" in message
    assert "warning: could not write the checkpoint of step 2" in done.stdout
    checkpoints = small_disk / "run" / "checkpoints"
    assert not checkpoints.exists() or not [p for p in checkpoints.iterdir() if p.name.startswith(".")]
    for finished in checkpoints.glob("step_*") if checkpoints.exists() else []:
        assert (finished / "state.json").stat().st_size > 0


def test_help_and_presets():
    assert "train" in run("--help").stdout
    assert "train" in invoke("-h").stdout and "--print-config" in invoke("train", "-h").stdout
    lines = invoke("presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["base", "debug", "paper", "quick", "sight"]
    assert "An empty road by the picture alone." in lines[-1]
    assert all(20 < len(line) <= 80 and line.endswith(".") for line in lines)
    assert invoke("--version").stdout.startswith("av-td3 0.")
    shown = invoke("presets", "show", "quick").stdout
    assert yaml.safe_load(shown)["agent"]["encoder"] == "asymmetric" and shown.startswith("#")
    assert "did you mean 'quick'" in one_line_error(invoke("presets", "show", "quikc"), 2)


def test_one_map_or_one_server_takes_the_place_of_several_maps(tmp_path):
    several = tmp_path / "several.yaml"
    several.write_text("train: {envs: 2, maps: [loop, grid]}")

    def train(*options: str) -> list[object]:
        done = invoke("train", "--config", str(several), "--print-config", *options)
        train = yaml.safe_load(done.stdout)["train"]
        return [train["envs"], train["maps"], done.stderr]

    one_map = "note: --map is one map: train.maps=[loop, grid] is not used\n"
    one_server = "note: --carla is one server: train.envs=2 and train.maps=[loop, grid] are not used\n"
    assert train() == [2, ["loop", "grid"], ""]
    assert train("--map", "town") == [2, [], one_map]
    assert train("--carla", "127.0.0.1:2000") == [1, [], one_server]
    assert train("--carla", "127.0.0.1:2000", "--map", "Town01") == [1, [], one_server]
    assert train("--map", "town", "--set", "train.maps=[grid]") == [2, ["grid"], ""]
    assert train("--carla", "127.0.0.1:2000", "--envs", "1", "--set", "train.maps=[]") == [1, [], ""]


def test_print_config_prints_what_would_run(tmp_path):
    target = str(tmp_path / "run")
    done = invoke("train", "--preset", "debug", "--npc", "3", "--print-config", "--run-dir", target)
    config = config_from_dict(yaml.safe_load(done.stdout))
    assert config == load_config("debug", None, ["env.simulator.npc=3"])
    assert not (tmp_path / "run").exists()
    assert yaml.safe_load(invoke("validate", "--print-config").stdout)["train"]["max_minutes"] == 12.0


def test_shell_completion_is_offered():
    assert "--install-completion" in invoke("--help").stdout


@pytest.mark.slow
def test_the_package_is_light_and_names_what_it_offers():
    code = (
        "import sys, av_td3; heavy = {'torch', 'carla', 'pydantic', 'rich'} & set(sys.modules); "
        "import av_td3.cli; heavy |= {'torch', 'carla'} & set(sys.modules); "
        "print(sorted(heavy), all(callable(getattr(av_td3, n)) for n in ('train', 'resume', 'evaluate')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


@pytest.mark.slow
def test_training_from_python(tmp_path):
    overrides = [f"{key}={value}" for key, value in TOY.items()] + ["train.steps=40"]
    outcome = av_td3.train(load_config("debug", overrides=overrides), tmp_path / "run")
    assert (outcome.state, outcome.step) == ("finished", 40)
    again = av_td3.resume(tmp_path / "run")
    assert (again.state, again.step, again.updates) == ("finished", 40, outcome.updates), "nothing is left"
    comparison = av_td3.evaluate(tmp_path / "run", episodes=2, baselines=False, video=False)
    assert list(comparison.evaluations) == ["trained"]
