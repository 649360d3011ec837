"""What a run was made from: code, versions, machine.  Diagnosis compares it with the tree."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

import av_td3
from av_td3.training.versions import IMAGE_BUILD, git_state, versions
from rundoctor.code import code_state, installed


def collect() -> dict[str, Any]:
    """A JSON-able description of the code, the packages and the hardware of this process."""
    code = code_state(installed())
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "git": git_state(Path(av_td3.__file__).parent),
        "code_sha256": code.sources,
        "compiled_sha256": code.compiled,
        "image_build": os.environ.get(IMAGE_BUILD),
        "versions": versions(),
        "hardware": {
            "platform": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def processor() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
