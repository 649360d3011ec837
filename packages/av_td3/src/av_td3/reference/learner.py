"""One run of this project's TD3 on a task."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from av_td3.agent.exploration import Explorer
from av_td3.agent.replay import Observation, Replay
from av_td3.agent.td3 import TD3
from av_td3.reference.curve import EvaluationPoint, SeedCurve
from av_td3.reference.tasks import Env, ReferenceSettings, make_task
from av_td3.training.batches import to_batch

NO_IMAGE = (1, 0, 0)
"""Shape of the stack of pictures where there is none: one frame of 0 x 0 pixels."""

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]


def learn(
    task: str,
    seed: int,
    steps: int,
    settings: ReferenceSettings,
    evaluated: Callable[[SeedCurve], None] = lambda _: None,
) -> SeedCurve:
    """Train for ``steps`` steps of the environment, with one update a step once learning has begun.

    ``evaluated`` is called with the curve so far after each evaluation.

    Raises:
        ConfigError: the task cannot be used.
        NonFiniteGradientError: training has diverged.
    """
    env, evaluation_env = make_task(task), make_task(task)
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    vector_size, action_size = env.observation_space.shape[0], env.action_space.shape[0]
    torch.manual_seed(seed)
    agent = TD3(settings.agent(), NO_IMAGE, vector_size, action_size)
    replay = Replay(min(settings.capacity, steps + 1_000), NO_IMAGE, vector_size, action_size, settings.gamma)
    rng, replay_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    explorer = Explorer(settings.exploration(), action_size, rng)

    def predict(observation: NDArray[Any]) -> NDArray[np.float32]:
        return agent.act(_no_image, torch.from_numpy(observation.astype(np.float32))[None])[0].numpy()

    curve = SeedCurve("av-td3", seed)
    observation, _ = env.reset(seed=seed)
    replay.begin(_observed(observation))
    for step in range(1, steps + 1):
        begun = time.perf_counter()
        learning = step > settings.start_steps
        if learning:
            action = explorer.disturb(predict(observation), step)
        else:
            action = rng.uniform(-1.0, 1.0, action_size).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        replay.add(action, float(reward), terminated, truncated, _observed(observation))
        if terminated or truncated:
            observation, _ = env.reset()
            replay.begin(_observed(observation))
        if learning:
            agent.update(to_batch(replay.sample(settings.batch_size, replay_rng), agent.device))
            curve.updates += 1
            curve.learning_s += time.perf_counter() - begun
        if step % settings.eval_interval == 0 or step == steps:
            curve.points.append(evaluate(evaluation_env, predict, step, settings.eval_episodes, seed))
            evaluated(curve)
    env.close()
    evaluation_env.close()
    return curve


def evaluate(env: Env, predict: Predict, step: int, episodes: int, seed: int) -> EvaluationPoint:
    """Episodes without noise, from the same starts each time."""
    returns = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + 100 if episode == 0 else None)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(predict(observation))
            total += float(reward)
            over = terminated or truncated
        returns.append(total)
    return EvaluationPoint(step, returns)


_no_image = torch.empty((1, *NO_IMAGE), dtype=torch.uint8)


def _observed(observation: NDArray[Any]) -> Observation:
    return {"image": np.empty(NO_IMAGE, np.uint8), "vector": observation}
