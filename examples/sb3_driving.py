"""Train an agent of Stable-Baselines3 on the driving environment, and drive one episode with it.

    python examples/sb3_driving.py --algorithm sac --steps 5000

The environment starts its own simulator and ends it when it is closed.
"""

from __future__ import annotations

import argparse

import gymnasium
from stable_baselines3 import SAC, TD3

import av_td3  # noqa: F401  (registers av_td3/Driving-v0)

ALGORITHMS = {"td3": TD3, "sac": SAC}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="td3")
    parser.add_argument("--steps", type=int, default=5_000, help="environment steps to train for")
    args = parser.parse_args()

    env = gymnasium.make("av_td3/Driving-v0")
    try:
        # The observation is a dict of a picture and a vector: SB3's MultiInputPolicy takes both.
        model = ALGORITHMS[args.algorithm](
            "MultiInputPolicy",
            env,
            buffer_size=max(1_000, args.steps),  # SB3 stores each stack twice: 57 kB a transition
            learning_starts=min(1_000, args.steps // 2),
            verbose=1,
        )
        model.learn(args.steps)
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
    finally:
        env.close()


if __name__ == "__main__":
    main()
