"""Stable-Baselines3's TD3 or DDPG on the driving environment, as it is, and how it drives.

    python -m benchmarks.sb3_baseline --algorithm td3 --steps 20000 --seed 0 [--preset quick] [--npc 0]

The networks and rates are those of the preset where SB3 has them: Nature CNN, heads 256-256,
batch size, gamma, tau, noise; the same number of updates per step, the same warm-up length.
Evaluated on the held-out routes against the random and the classical driver.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.noise import NormalActionNoise

from av_td3.config import load_config
from av_td3.evaluation import report
from av_td3.evaluation.baselines import ClassicalDriver, RandomPolicy, sb3_policy
from av_td3.evaluation.rollout import Policy, evaluate
from av_td3.supervision.supervised import SupervisedEnv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--algorithm", choices=("td3", "ddpg"), default="td3")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--npc", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", type=Path, default=None, help="folder for the model and the figures")
    args = parser.parse_args()

    config = load_config(args.preset, None, [f"env.simulator.npc={args.npc}"])
    agent = config.agent
    torch.set_num_threads(config.train.threads or torch.get_num_threads())
    with contextlib.closing(SupervisedEnv(config.env, "train")) as env:
        model = {"td3": TD3, "ddpg": DDPG}[args.algorithm](
            "MultiInputPolicy",
            env,
            learning_rate=agent.critic_lr,
            buffer_size=min(args.steps, config.replay.capacity),
            learning_starts=config.train.learning_starts,
            batch_size=agent.batch_size,
            gamma=agent.gamma,
            tau=agent.tau,
            train_freq=1,
            gradient_steps=max(1, round(config.train.updates_per_step)),
            action_noise=NormalActionNoise(np.zeros(2), np.full(2, config.exploration.noise)),
            policy_kwargs={
                "net_arch": list(agent.hidden),
                "features_extractor_kwargs": {"cnn_output_dim": agent.feature_size},
            },
            seed=args.seed,
            device=config.train.device,
            verbose=1,
        )
        model.learn(args.steps, log_interval=20)
        restarts = env.restarts
    name = f"SB3 {args.algorithm.upper()}"
    drivers: dict[str, Policy] = {
        name: sb3_policy(model),
        "random": RandomPolicy(),
        "classical": ClassicalDriver(config.env),
    }
    with contextlib.closing(SupervisedEnv(config.env, "held_out")) as env:
        results = {
            key: evaluate(env, driver, args.episodes, config.evaluation.seed, name=key)
            for key, driver in drivers.items()
        }
    comparison = report.show(results, Console())
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        model.save(args.out / "model")
        extra = {"steps": args.steps, "seed": args.seed, "restarts": restarts}
        report.write_json(args.out / "evaluation.json", comparison, extra)


if __name__ == "__main__":
    main()
