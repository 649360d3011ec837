"""Every example runs, in its small form, as a user would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import nbformat
import pytest
from nbclient import NotebookClient

from rundoctor import Severity, diagnose, load_runs

EXAMPLES = Path(__file__).parents[1]
PACKAGES = EXAMPLES.parent / "packages"


def run(name: str, *arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    # Threads of several tests that run side by side would wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_carla_program_takes_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    text = run("carla_program.py", "--seconds", "2", "--out", str(out))
    metres, points = float(text.split()[1]), int(text.split("has")[1].split()[0])
    assert metres > 1.0 and points > 100
    picture = cv2.imread(str(out))
    assert picture is not None and picture.shape == (360, 640, 3) and picture.std() > 10.0


@pytest.mark.slow
def test_tests_of_carla_code() -> None:
    plugin = (PACKAGES / "minicarla/pyproject.toml").read_text()
    assert 'minicarla = "minicarla.testing.plugin"' in plugin  # installed, pytest loads it by itself
    command = [sys.executable, "-m", "pytest", "-p", "minicarla.testing.plugin", "-p", "no:minicarla"]
    command += ["-p", "no:cacheprovider", str(EXAMPLES / "carla_tests.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "envs"), [("td3", 2), ("sac", 1), ("ppo", 2)])
def test_stable_baselines_drives(algorithm: str, envs: int) -> None:
    options = ["--algorithm", algorithm, "--envs", str(envs), "--steps", "16", "--rollout", "8"]
    assert "of the route, return" in run("sb3_driving.py", *options)


@pytest.mark.slow
def test_the_single_file_in_the_style_of_cleanrl_learns_and_logs(tmp_path: Path) -> None:
    small = ["--learning-starts", "40", "--batch-size", "16", "--buffer-size", "200"]
    text = run("cleanrl_td3.py", "--total-timesteps", "160", "--num-envs", "2", *small, cwd=tmp_path)
    assert "episodic_return=" in text
    [found] = load_runs([tmp_path / "runs"]).runs
    for signal in ("critic_loss", "q1_mean", "episode_return"):
        series = found.get(signal)
        assert series is not None and len(series), signal
    assert found.algorithm.name == "TD3"
    assert [f.id for f in diagnose(found).findings if f.severity > Severity.INFO] == []


@pytest.mark.slow
def test_torchrl_collects_and_learns() -> None:
    pytest.importorskip("torchrl", reason="torchrl is not installed")
    text = run("torchrl_td3.py", "--frames", "100", "--warmup", "40", "--batch-size", "16")
    assert re.search(r"^100 transitions, 80 updates, last loss of the critics \d+\.\d+$", text, re.MULTILINE)


@pytest.mark.slow
def test_an_exported_policy_drives_without_this_project(tmp_path: Path) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="the extra onnx is not installed")
    export = [sys.executable, "-m", "av_td3", "export", "sight", str(tmp_path / "agent")]
    subprocess.run(export, check=True, capture_output=True, timeout=150)
    text = run("onnx_driving.py", str(tmp_path / "agent" / "policy.onnx"), "--seconds", "6")
    found = re.fullmatch(r"drove (\d+) m, on average (\d+\.\d+) m from the lane's centre\n", text)
    assert found is not None and float(found[1]) > 10.0 and float(found[2]) < 0.5, text


@pytest.mark.slow
def test_a_run_of_stable_baselines_is_diagnosed() -> None:
    text = run("diagnose_sb3.py", "--steps", "700")
    assert "cause:" in text and "fix:" in text


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")]:
        assert f"({path.name})" in listed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_notebook_trains_plots_shows_and_diagnoses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "driving.ipynb", as_version=4)
    [settings] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source = "STEPS, EPISODES = 240, 1"
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert shown.count("image/png") == 2
    assert any("<video" in str(output.get("data", {}).get("text/html", "")) for output in outputs)
    printed = "".join(output.get("text", "") for output in outputs)
    assert "finished: 240 steps" in printed and "actor_lr is 0.03" in printed
    assert not [output for output in outputs if output.get("name") == "stderr"]
