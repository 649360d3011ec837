"""What a run was made from: code, versions, machine.  Diagnosis compares it with the tree."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

import av_td3
import minicarla
from rundoctor.code import code_state, installed

PACKAGES = ("torch", "numpy", "carla", "gymnasium", "opencv-python-headless", "safetensors", "tensorboard")


def collect() -> dict[str, Any]:
    """A JSON-able description of the code, the packages and the hardware of this process."""
    code = code_state(installed())
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "git": _git(Path(av_td3.__file__).parent),
        "code_sha256": code.sources,
        "compiled_sha256": code.compiled,
        "image_build": os.environ.get("AV_TD3_IMAGE_BUILD"),
        "versions": versions(),
        "hardware": {
            "platform": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def versions() -> dict[str, str | None]:
    """Versions of Python, of this software, and of the packages that results depend on."""
    return {
        "python": platform.python_version(),
        "av-td3": av_td3.__version__,
        "minicarla": minicarla.__version__,
        **{name: _version(name) for name in PACKAGES},
    }


def _git(folder: Path) -> dict[str, Any] | None:
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
