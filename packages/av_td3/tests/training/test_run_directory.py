"""A run directory belongs to one process at a time, and remembers what the run is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from av_td3.training.run_directory import RunDirectory, RunError

from .fake import small_config

HOLDER = """
import sys, time
from pathlib import Path
from av_td3.training.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_process_at_a_time_and_the_lock_dies_with_it(tmp_path):
    run = RunDirectory.create(tmp_path / "run", small_config(), {})
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process {holder.pid} trains in it"), run.lock():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run.lock():  # kill -9 has released it
        pass
    with run.lock():
        pass


def test_an_injected_fault_is_remembered(tmp_path):
    assert RunDirectory.create(tmp_path / "a", small_config(), {}).injected_fault() is None
    facts = {"injected_fault": "detached-actor"}
    run = RunDirectory.create(tmp_path / "b", small_config(), facts)
    run.append_provenance({"code_sha256": "0"})
    assert run.injected_fault() == "detached-actor"


def test_failures_of_the_simulator_are_counted_and_timed(tmp_path):
    run = RunDirectory.create(tmp_path / "run", small_config(), {})
    assert run.simulator_failures() == (0, 0.0)
    (run.logs / "incidents.jsonl").write_text("{}\n{}\n")
    (run.logs / "recoveries.jsonl").write_text('{"seconds": 1.5}\n{"seconds": 2}\n{"torn')
    assert run.simulator_failures() == (2, 3.5)
