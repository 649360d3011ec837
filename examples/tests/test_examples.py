"""Every example runs, in its small form, as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

EXAMPLES = Path(__file__).parents[1]
PACKAGES = EXAMPLES.parent / "packages"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=150
    )
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
def test_stable_baselines_drives() -> None:
    assert "of the route, return" in run("sb3_driving.py", "--steps", "40")


@pytest.mark.slow
def test_a_run_of_stable_baselines_is_diagnosed() -> None:
    text = run("diagnose_sb3.py", "--steps", "700")
    assert "cause:" in text and "fix:" in text


def test_every_example_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in listed
