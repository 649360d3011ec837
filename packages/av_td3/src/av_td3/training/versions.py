"""Which code this is: versions, commit, build.  Needs no torch, so that ``--version`` answers at once."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import av_td3
import minicarla
from av_td3.config import SimulatorConfig
from rundoctor.code import code_state, installed

PACKAGES = ("torch", "numpy", "carla", "gymnasium", "opencv-python-headless", "safetensors", "tensorboard")

IMAGE_BUILD = "AV_TD3_IMAGE_BUILD"
"""Environment variable in which a container image says from what it was built."""


def versions() -> dict[str, str | None]:
    """Versions of Python, of this software, and of the packages that results depend on."""
    return {
        "python": platform.python_version(),
        "av-td3": av_td3.__version__,
        "minicarla": minicarla.__version__,
        **{name: _version(name) for name in PACKAGES},
    }


def simulator_name(simulator: SimulatorConfig) -> str:
    """Which simulator this is, as an evaluation's conditions name it."""
    if simulator.is_minicarla:
        return f"minicarla {minicarla.__version__}"
    if simulator.address is not None:
        return f"the CARLA server at {simulator.address}"
    return f"the CARLA server that is started by: {simulator.command}"


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and state of the tree the code lies in; None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    # Tracked files only: installed into a virtual environment inside somebody's repository,
    # this code is not what that repository's commit describes.
    if not git("ls-files", "--error-unmatch", "__init__.py"):
        return None
    commit, diff, status = git("rev-parse", "HEAD"), git("diff", "HEAD"), git("status", "--porcelain")
    if commit is None or diff is None or status is None:
        return None
    return {
        "commit": commit.strip(),
        "dirty": bool(status.strip()),
        "diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
        "changed": [line[3:] for line in status.splitlines()][:50],
    }


def build_details() -> list[str]:
    """What ``av-td3 --version`` prints below the version, a line each."""
    code, git = code_state(installed()), git_state(Path(av_td3.__file__).parent)
    lines = [f"code       {code.sources[:12]}"]
    if git is not None:
        lines[0] += f", commit {git['commit'][:12]}" + (", changed" if git["dirty"] else "")
    lines.append(f"compiled   {code.compiled[:12] or 'nothing: install minicarla again'}")
    if os.environ.get(IMAGE_BUILD):
        lines.append(f"image      {os.environ[IMAGE_BUILD]}")
    own = {"av-td3", "python"}
    found = [f"{name} {value or 'missing'}" for name, value in versions().items() if name not in own]
    lines.append(f"python     {platform.python_version()} on {platform.platform()}")
    lines += [
        f"{'packages' if first == 0 else '':<10} {', '.join(found[first : first + 3])}"
        for first in range(0, len(found), 3)
    ]
    return lines


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
