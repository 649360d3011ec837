"""A driving environment without a simulator that honours the contract, for testing the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from av_td3.config import Config, config_from_dict
from av_td3.driving.observation import check_action
from av_td3.training.loop import Policy
from rundoctor.signals.replay import COMPONENTS

SIZE = 36


def small_config(replay: dict[str, Any] | None = None, **train: Any) -> Config:
    """A configuration whose run takes seconds."""
    return config_from_dict(
        {
            "env": {"camera": {"size": SIZE, "frame_stack": 4}, "route": {"waypoints": 2}},
            "agent": {"feature_size": 16, "hidden": (16,), "batch_size": 8, "critic_warmup": 5},
            "exploration": {"warmup_steps": 20, "noise_decay_steps": 50},
            "replay": {"capacity": 500, **(replay or {})},
            "train": {
                "steps": 120,
                "learning_starts": 20,
                "log_interval": 10,
                "checkpoint_interval": 40,
                **train,
            },
            "evaluation": {"interval": 60},
        }
    )


class FakeEnv:
    """A point that should go forward; deterministic in the seed of each reset."""

    def __init__(self, config: Config, length: int = 15) -> None:
        self.config, self.length = config, length
        self.restarts = 0
        self.downtime_s = 0.0
        self.incidents: list[str] = []
        self.closed = False
        self.total_steps = 0
        self.fault_at: set[int] = set()
        self.poison: dict[int, str] = {}  # step -> "observation" | "reward"
        self.actions: list[np.ndarray] = []
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.seeds.append(seed)
        self.rng = np.random.default_rng(seed)
        self.t, self.x = 0, 0.0
        self.stack = [self._frame()] * 4
        return self._observation(), {}

    def send(self, action: np.ndarray) -> None:
        assert (np.abs(action[np.isfinite(action)]) <= 1).all()
        self.action = check_action(action)
        self.actions.append(action.copy())

    def awaited(self) -> list[Any]:
        return []

    def abort(self) -> None:
        pass

    def receive(self) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.total_steps += 1
        if self.total_steps in self.fault_at:
            self.restarts += 1
            self.downtime_s += 1.5
            self.incidents.append("the server died")
            info = self._info() | {"termination": "simulator_fault", "fault": "the server died"}
            return self._observation(), 0.0, False, True, info
        self.t += 1
        self.x += float(self.action[1])
        self.stack = [*self.stack[1:], self._frame()]
        terminated = self.t >= self.length and self.x > 0
        truncated = self.t >= self.length and not terminated
        info = self._info()
        if terminated or truncated:
            info["termination"] = "success" if terminated else "time_limit"
        reward = sum(info["reward_components"].values())
        observation = self._observation()
        kind = self.poison.get(self.total_steps)
        if kind == "observation":
            observation["vector"][1] = np.nan
        if kind == "reward":
            reward = float("nan")
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        self.closed = True

    def _frame(self) -> np.ndarray:
        return self.rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)

    def _observation(self) -> dict[str, Any]:
        vector = np.zeros(self.config.env.vector_size, np.float32)
        vector[0] = self.x / 10
        return {"image": np.stack(self.stack), "vector": vector}

    def _info(self) -> dict[str, Any]:
        components = dict.fromkeys(COMPONENTS, 0.0)
        components["progress"] = float(getattr(self, "action", np.zeros(2))[1])
        return {
            "reward_components": components,
            "speed_kmh": 10.0,
            "collisions": 0,
            "lane_invasions": 0,
            "route_completion": min(1.0, max(0.0, self.x / 10)),
        }


def fake_evaluation(policy: Policy, step: int) -> dict[str, float]:
    return {
        "eval/mean_reward": 1.0,
        "eval/success_rate": 0.5,
        "eval/avg_collisions": 0.0,
        "eval/avg_episode_length": 10.0,
        "eval/avg_lane_invasions": 0.0,
        "eval/route_completion": 0.5,
    }


class SilentDisplay:
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.updates = 0

    def update(self, progress: Any) -> None:
        self.updates += 1

    def message(self, text: str) -> None:
        self.messages.append(text)

    def status(self, text: str) -> None:
        pass


def scalars(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) pairs of a run's TensorBoard file."""
    accumulator = EventAccumulator(str(path / "tb"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {t: [(e.step, e.value) for e in accumulator.Scalars(t)] for t in accumulator.Tags()["scalars"]}
