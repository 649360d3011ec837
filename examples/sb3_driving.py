"""Train an agent of Stable-Baselines3 on the driving environment, and drive a held-out route with it.

    python examples/sb3_driving.py --algorithm sac --steps 5000
    python examples/sb3_driving.py --algorithm ppo --envs 4 --steps 20000    # four simulators, one learner

Each environment starts a simulator of its own, and ends it when it is closed.
"""

from __future__ import annotations

import argparse
import contextlib

import gymnasium
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import av_td3  # noqa: F401  (registers av_td3/Driving-v0)
from av_td3.sb3 import DrivingVecEnv

OFF_POLICY: dict[str, type[TD3] | type[SAC]] = {"td3": TD3, "sac": SAC}


def train(algorithm: str, envs: VecEnv, steps: int, rollout: int) -> PPO | SAC | TD3:
    """Train with MultiInputPolicy, because the observation is a dict of a picture and a vector."""
    if algorithm == "ppo":
        # n_steps counts the steps of each environment; PPO learns when they are collected.
        each = max(2, rollout // envs.num_envs)
        model: PPO | SAC | TD3 = PPO(
            "MultiInputPolicy", envs, n_steps=each, batch_size=min(64, each * envs.num_envs), verbose=1
        )
    else:
        model = OFF_POLICY[algorithm](
            "MultiInputPolicy",
            envs,
            buffer_size=max(1_000, steps),  # SB3 stores each stack twice: 57 kB a transition
            learning_starts=min(1_000, steps // 2),
            train_freq=1,
            gradient_steps=-1,  # as many updates as environment steps
            verbose=1,
        )
    return model.learn(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--algorithm", choices=["td3", "sac", "ppo"], default="td3")
    parser.add_argument("--steps", type=int, default=5_000, help="steps to train for, of all environments")
    parser.add_argument("--envs", type=int, default=1, help="environments that are driven at once")
    parser.add_argument("--rollout", type=int, default=1_024, help="steps between two updates of PPO")
    args = parser.parse_args()

    # VecMonitor adds the return of each episode to what SB3 prints and logs.
    with contextlib.closing(VecMonitor(DrivingVecEnv(args.envs, preset="quick"))) as envs:
        model = train(args.algorithm, envs, args.steps, args.rollout)
    with contextlib.closing(gymnasium.make("av_td3/Driving-v0", preset="quick", split="held_out")) as env:
        observation, info = env.reset(seed=0)
        total, done = 0.0, False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, info = env.step(action)
            total, done = total + float(reward), terminated or truncated
        print(
            f"ended by {info['termination']} after {100 * info['route_completion']:.0f} % of the route, "
            f"return {total:.1f}"
        )


if __name__ == "__main__":
    main()
