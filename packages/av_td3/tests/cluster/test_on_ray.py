"""The one test with a real Ray: a simulator and two sweeps on a cluster of this machine.

``python -m verification.cluster`` is the long proof: three nodes, one is killed and one frozen.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROGRAM = Path(__file__).with_name("on_ray.py")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_lost_is_begun_again_and_a_signal_ends_a_sweep_in_good_order(tmp_path):
    mark = str(tmp_path)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), mark], capture_output=True, text=True, timeout=590, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    # Ray started the host again that was killed: one incident, and the next episode begins.
    assert result["drive"] == {
        "frames": [1, 1],
        "termination": "simulator_fault",
        "incidents": ["host-died"],
    }
    # A run that fails is reported, one whose node is lost has a second life.
    said = "\n".join(result["said"])
    assert result["failed"] == {"bad": "it went wrong"}, said
    assert (tmp_path / "long.lives").read_text() == "xx"
    assert "bad failed" in said and "long lost its node" in said and "long is done" in said
    # A signal lets the run save itself.
    assert (tmp_path / "longer.saved").exists() and "not interrupted" not in said, said
    assert not [each.name for each in tmp_path.iterdir() if each.name.startswith(".")]
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]
