"""Which code this is, and the allocator's settings."""

import ctypes
import subprocess
import sys

import pytest

import minicarla
from av_td3.config import SimulatorConfig
from av_td3.training import versions
from av_td3.training.memory import tune_allocator


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "__init__.py").write_text("x = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_the_state_of_a_repository(repository):
    clean = versions.git_state(repository)
    assert len(clean["commit"]) == 40 and (clean["dirty"], clean["diff_sha256"]) == (False, None)
    (repository / "__init__.py").write_text("x = 2\n")
    changed = versions.git_state(repository)
    assert changed["commit"] == clean["commit"] and changed["changed"] == ["__init__.py"]
    assert changed["dirty"] and len(changed["diff_sha256"]) == 64


@pytest.mark.parametrize(
    ("simulator", "name"),
    [
        ({}, f"minicarla {minicarla.__version__}"),
        ({"address": "h:2000"}, "the CARLA server at h:2000"),
        ({"command": "carla {port}"}, "the CARLA server that is started by: carla {port}"),
    ],
)
def test_a_simulator_has_one_name(simulator, name):
    assert versions.simulator_name(SimulatorConfig(**simulator)) == name


def test_code_that_no_commit_describes_has_no_state(repository, tmp_path, monkeypatch):
    inside = repository / "site-packages"
    inside.mkdir()
    (inside / "__init__.py").write_text("")  # installed there, and not tracked
    assert versions.git_state(inside) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init")
    (empty / "__init__.py").write_text("")
    git(empty, "add", ".")
    assert versions.git_state(empty) is None, "no commit yet"
    monkeypatch.setenv("PATH", "")
    assert versions.git_state(repository) is None, "no git"


def test_the_version_says_from_what_an_image_was_built(monkeypatch):
    monkeypatch.setenv(versions.IMAGE_BUILD, "commit 123 of 2026")
    monkeypatch.setattr(versions, "PACKAGES", (*versions.PACKAGES, "no-such-package"))
    lines = versions.build_details()
    assert "image      commit 123 of 2026" in lines
    assert any("no-such-package missing" in line for line in lines)


def test_the_allocator_is_tuned_where_it_is_glibcs(monkeypatch):
    assert tune_allocator() is (sys.platform == "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # another C library: no mallopt
    assert tune_allocator() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tune_allocator() is False
