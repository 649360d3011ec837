"""Train a small agent of Stable-Baselines3 that logs to TensorBoard, and diagnose the run.

    python examples/diagnose_sb3.py --steps 3000 --learning-rate 0.3

The default learning rate is too large on purpose.  ``rundoctor`` reads only the log files.
"""

from __future__ import annotations

import argparse
import tempfile

from stable_baselines3 import TD3
from stable_baselines3.common.logger import configure

from rundoctor import diagnose, load_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--learning-rate", type=float, default=0.3)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        model = TD3("MlpPolicy", "Pendulum-v1", learning_rate=args.learning_rate, learning_starts=500, seed=0)
        model.set_logger(configure(folder, ["tensorboard", "csv"]))
        model.learn(args.steps, log_interval=1)
        for run in load_runs([folder]).runs:
            report = diagnose(run)
            for finding in report.findings:
                print(f"{finding.severity}: {finding.title} ({finding.id})")
                print(f"  cause: {finding.cause}")
                print(f"  fix:   {finding.fix}")
            if not report.findings:
                print("nothing found")


if __name__ == "__main__":
    main()
