"""av-td3: end-to-end visual driving with TD3 on CARLA, with training that can be trusted.

    import gymnasium, av_td3
    env = gymnasium.make("av_td3/Driving-v0", preset="quick", map="town", npc=20)

    envs = gymnasium.make_vec("av_td3/Driving-v0", num_envs=4, preset="quick")

    config = av_td3.load_config("quick", overrides=["train.steps=5000"])
    outcome = av_td3.train(config, "runs/first")
    comparison = av_td3.evaluate("runs/first", episodes=20)

``gymnasium.make("av_td3:av_td3/Driving-v0")`` does the same without the import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gymnasium.envs import registration

if TYPE_CHECKING:
    from av_td3.api import evaluate, resume, train
    from av_td3.config import Config, EnvConfig, load_config
    from av_td3.supervision.supervised import SupervisedEnv
    from av_td3.supervision.vector import DrivingVectorEnv

__version__ = "0.1.0"
__all__ = [
    "Config",
    "DrivingVectorEnv",
    "EnvConfig",
    "SupervisedEnv",
    "__version__",
    "evaluate",
    "load_config",
    "register_envs",
    "resume",
    "train",
]

_HOMES = {
    "train": "av_td3.api",
    "resume": "av_td3.api",
    "evaluate": "av_td3.api",
    "Config": "av_td3.config",
    "EnvConfig": "av_td3.config",
    "load_config": "av_td3.config",
    "SupervisedEnv": "av_td3.supervision.supervised",
    "DrivingVectorEnv": "av_td3.supervision.vector",
}


def register_envs() -> None:
    """Make ``av_td3/Driving-v0`` known to Gymnasium; importing ``av_td3`` has done it already."""
    if "av_td3/Driving-v0" not in registration.registry:
        # By name: nothing of the environment is imported before somebody makes one.
        registration.register(
            "av_td3/Driving-v0",
            entry_point="av_td3.supervision.supervised:SupervisedEnv",
            vector_entry_point="av_td3.supervision.vector:DrivingVectorEnv",
        )


def __getattr__(name: str) -> object:
    # Imported when they are used: `av-td3 --help` needs none of them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


register_envs()
