"""Short forms of ``make chaos`` and ``make resume``: each as a process of its own, which forks learners."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from verification import witness


def verify(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_training_survives_and_its_replay_is_what_happened() -> None:
    kinds = ["server killed", "worker crashed", "picture of another size", "learner killed"]
    report = verify("verification.chaos", "--faults", "4", "--patience", "120", "--only", *kinds)
    assert "wrong 0; orphans 0" in report
    transitions = int(report.split("transitions in the replay ")[1].split(",")[0])
    assert transitions > 50


@pytest.mark.slow
def test_a_run_that_was_killed_equals_one_that_was_not() -> None:
    report = verify("verification.resume", "--kills", "2", "--npc", "2")
    assert "killed 2 times" in report and " 0 series, arrays or files differ" in report


@pytest.mark.slow
def test_traffic_managers_that_get_no_answer_cost_episodes_and_no_ticks() -> None:
    trial = "--ticks 800 --silent-every 350 --npc 5 --map loop"
    result = json.loads(verify("verification.traffic_manager", *trial.split()))
    assert result["ticks"] >= 800 and result["incidents"]["step: worker-died"] >= 2
    assert result["wrong"] == [] and result["processes_left"] == 0


def test_a_picture_says_of_which_tick_it_is() -> None:
    pictures = np.full((3, 36, 36, 4), 90, np.uint8)
    numbers = [(1, 65535), (4711, 0), (65535, 12345)]
    for picture, (frame, life) in zip(pictures, numbers, strict=True):
        witness.stamp(picture, frame, life)
    frames, lives = witness.read_stamps(pictures[..., 1])
    assert list(zip(frames.tolist(), lives.tolist(), strict=True)) == numbers
