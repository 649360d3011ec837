"""A training on three nodes of a Ray cluster, one of which is killed and one frozen."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_survives_the_loss_of_nodes_and_its_replay_is_what_happened() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "verification.cluster"],
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong 0; orphans 0" in done.stdout
    match = re.search(r"transitions in the replay (\d+)", done.stdout)
    assert match is not None and int(match[1]) > 50
    assert "host-died" in done.stdout and "host-silent" in done.stdout
