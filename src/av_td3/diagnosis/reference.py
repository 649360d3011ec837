"""The run's hyper-parameters beside the TD3 paper's and Stable-Baselines3's."""

from __future__ import annotations

from .model import Reference
from .run import Run


def references(run: Run) -> list[Reference]:
    return []
