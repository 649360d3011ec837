"""Wall-clock time to 90 % route completion: Stable-Baselines3's TD3 and this one, on the same environment.

    python -m benchmarks.sb3_baseline --minutes 60 [--networks default|preset] [--seed 0] [--json FILE]

Both learn on the environment of a preset, one after the other on the same machine, each for at most --minutes
minutes.  Every --interval steps the policy drives held-out routes by the code of av-td3 evaluate; the clock
stands still meanwhile.  The time to 90 % is that of the first evaluation with a mean route completion of 90 %
or more.

  --networks default  Stable-Baselines3's default networks, rates, batch, noise (none) and threads
  --networks preset   networks, rates, batch, noise, warm-up and threads of the preset, as far as
                      Stable-Baselines3 has them

This one is trained as by av-td3 train --preset NAME, and ends no later than that.  The minutes count from the
first step; starting torch and the simulator is left out for both.

FILE has the figures of both agents as av-td3 evaluate --json writes them, and also the curves:

    av-td3 compare SB3=FILE:"SB3 TD3" ours=FILE:av-td3
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: it helps both

import numpy as np
import psutil
import torch
from rich.console import Console
from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from av_td3.config import Config, load_config
from av_td3.evaluation import report, rollout
from av_td3.evaluation.baselines import sb3_policy
from av_td3.evaluation.metrics import compare, scalars
from av_td3.health.metrics import Scalars
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import arithmetic
from av_td3.training.agents import policy_of
from av_td3.training.loop import Policy
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer
from av_td3.training.versions import versions
from benchmarks import common
from rundoctor.signals.evaluation import ROUTE_COMPLETION

GOAL = 0.9
"""Mean route completion on held-out routes."""
OURS = "av-td3"
ALGORITHMS: dict[str, type[OffPolicyAlgorithm]] = {"td3": TD3, "ddpg": DDPG}
_SB3_BUFFER = 1_000_000


class Contest:
    """One contender's clock and the results of its evaluations."""

    def __init__(self, name: str, config: Config, episodes: int) -> None:
        self.name, self.config, self.episodes = name, config, episodes
        self.curve: list[dict[str, float]] = []
        self.trained = 0.0
        """Minutes of training in all."""
        self.steps = 0
        """Environment steps in all."""
        self._started = time.monotonic()

    def start(self) -> None:
        """Training begins now."""
        self._started = time.monotonic()

    @property
    def minutes(self) -> float:
        """Minutes of training so far."""
        return (time.monotonic() - self._started) / 60

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time is not counted."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - begin

    def evaluate(self, policy: rollout.Policy, step: int) -> Scalars:
        """Drive held-out routes, others than those of the final evaluation, and note the result."""
        with self.paused():
            settings = self.config.evaluation
            result = drive(self.config, policy, self.episodes, settings.seed + settings.final_episodes)
            row: Scalars = scalars(result)
        completion = row[ROUTE_COMPLETION.tag]
        self.curve.append({"minutes": self.minutes, "step": step, "route_completion": completion})
        print(f"{self.name}: {self.minutes:6.2f} min, {step:6d} steps: {completion:4.0%}", flush=True)
        return row

    @property
    def minutes_to_goal(self) -> float | None:
        """Minutes after which the goal was first reached; None if it was not."""
        return next((p["minutes"] for p in self.curve if p["route_completion"] >= GOAL), None)


def drive(config: Config, policy: rollout.Policy, episodes: int, seed: int, name: str = "") -> Any:
    """An evaluation on held-out routes with a simulator of its own."""
    with contextlib.closing(SupervisedEnv(config.env, "held_out")) as env:
        return rollout.evaluate(env, policy, episodes, seed, name=name)


class Evaluating(BaseCallback):
    """Evaluates every ``interval`` steps, at the end of an episode, and ends training in time."""

    def __init__(self, contest: Contest, minutes: float, steps: int, interval: int) -> None:
        super().__init__()
        self.contest, self.budget, self.steps, self.interval = contest, minutes, steps, interval
        self.due = interval

    def _on_training_start(self) -> None:
        self.contest.start()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.due and self.locals["dones"].any():
            self.contest.evaluate(sb3_policy(self.model), self.num_timesteps)
            self.due = self.num_timesteps + self.interval
        return self.contest.minutes < self.budget and self.num_timesteps < self.steps


def stable_baselines(
    algorithm: str, networks: str, config: Config, env: SupervisedEnv, seed: int
) -> OffPolicyAlgorithm:
    """A model with Stable-Baselines3's own settings, or the preset's."""
    agent = config.agent
    settings: dict[str, Any] = {"buffer_size": _SB3_BUFFER}
    if networks == "preset":
        settings = {
            "learning_rate": agent.critic_lr,
            "buffer_size": config.replay.capacity,
            "learning_starts": config.train.learning_starts,
            "batch_size": agent.batch_size,
            "gamma": agent.gamma,
            "tau": agent.tau,
            "gradient_steps": max(1, round(config.train.updates_per_step)),
            "action_noise": NormalActionNoise(np.zeros(2), np.full(2, config.exploration.noise)),
            "policy_kwargs": {
                "net_arch": list(agent.hidden),
                "features_extractor_kwargs": {"cnn_output_dim": agent.feature_size},
            },
        }
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
    # Its replay stores both stacks of every transition, and all its memory is allocated at once.
    spaces = env.observation_space.spaces.values()  # type: ignore[attr-defined]
    each = 2 * sum(np.prod(space.shape) * space.dtype.itemsize for space in spaces)
    fit = int(psutil.virtual_memory().available / 2 / each)
    settings["buffer_size"] = min(settings["buffer_size"], fit)
    device = config.train.device
    model: OffPolicyAlgorithm = ALGORITHMS[algorithm](
        "MultiInputPolicy", env, seed=seed, device=device, **settings
    )
    return model


def train_ours(contest: Contest, minutes: float, steps: int, interval: int, folder: Path) -> Policy:
    """Train as ``av-td3 train`` does; returns the last policy."""
    limits = [m for m in (minutes, contest.config.train.max_minutes) if m is not None]
    train = {"max_minutes": min(limits), "steps": min(steps, contest.config.train.steps)}
    changes: dict[str, Any] = {
        "train": contest.config.train.model_copy(update=train),
        "evaluation": contest.config.evaluation.model_copy(update={"interval": interval}),
    }
    config = arithmetic.measured(contest.config.model_copy(update=changes), print)
    tune_allocator()

    def evaluate(policy: Policy, step: int) -> Scalars:
        begin = time.monotonic()
        row = contest.evaluate(policy, step)
        trainer.state.leave_out(time.monotonic() - begin)
        return row

    trainer = Trainer(
        config,
        RunDirectory.create(folder, config, {}),
        lambda: SupervisedEnv(config.env, "train"),
        evaluate,
        common.Silent(),
    )
    contest.start()
    outcome = trainer.train()
    contest.steps = outcome.step
    print(f"{contest.name}: {outcome.state} after {outcome.step} steps", flush=True)
    return policy_of(trainer.state.agent, config.evaluation.averaged)


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = common.options(__doc__)
    parser.add_argument("--minutes", type=_positive(float), default=60.0, help="of training, for each agent")
    parser.add_argument("--steps", type=_positive(int), default=10**9, help="at most, for each agent")
    parser.add_argument("--networks", choices=("default", "preset"), default="default")
    parser.add_argument("--algorithm", choices=tuple(ALGORITHMS), default="td3", help="of Stable-Baselines3")
    parser.add_argument("--preset", default="quick", help="environment and settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes of the preset"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interval", type=_positive(int), default=1000, help="steps between evaluations")
    parser.add_argument("--episodes", type=_positive(int), default=10, help="of each of these evaluations")
    parser.add_argument(
        "--final-episodes", type=_positive(int), default=50, help="of the evaluation at the end"
    )
    parser.add_argument("--only", choices=("sb3", "ours"), help="train only this one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the model and the run here")
    options = parser.parse_args(words)
    threads = torch.get_num_threads()
    changes = [f"train.seed={options.seed}", f"evaluation.final_episodes={options.final_episodes}"]
    config = load_config(options.preset, None, [*changes, *options.set])

    name = f"SB3 {options.algorithm.upper()}"
    contests: dict[str, Contest] = {}
    results: dict[str, rollout.Evaluation] = {}
    with contextlib.ExitStack() as stack:
        folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def finish(contest: Contest, policy: rollout.Policy) -> None:
            contest.trained = contest.minutes
            contests[contest.name] = contest
            seed, episodes = config.evaluation.seed, config.evaluation.final_episodes
            results[contest.name] = drive(config, policy, episodes, seed, contest.name)

        if options.only != "sb3":
            contest = Contest(OURS, config, options.episodes)
            run = folder / f"ours-s{options.seed}"
            finish(contest, train_ours(contest, options.minutes, options.steps, options.interval, run))
        if options.only != "ours":
            contest = Contest(name, config, options.episodes)
            torch.set_num_threads(threads)
            with contextlib.closing(SupervisedEnv(config.env, "train")) as env:
                model = stable_baselines(options.algorithm, options.networks, config, env, options.seed)
                callback = Evaluating(contest, options.minutes, options.steps, options.interval)
                model.learn(10**9, callback=callback, log_interval=10**9)
            contest.steps = model.num_timesteps
            print(f"{name}: ended after {model.num_timesteps} steps", flush=True)
            if options.out is not None:
                model.save(options.out / f"sb3-s{options.seed}")
            finish(contest, sb3_policy(model))
    comparison = report.show(compare(results), Console())
    times = {key: contest.minutes_to_goal for key, contest in contests.items()}
    for line in verdict(times, contests):
        print(line)
    if options.json is not None:
        conditions = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "map": config.env.simulator.map,
            "traffic": {"wanted": config.env.simulator.npc},
            "episodes": config.evaluation.final_episodes,
            "seed": config.evaluation.seed,
            "networks": options.networks,
            "minutes": options.minutes,
            "trained": {key: {"steps": c.steps, "minutes": c.trained} for key, c in contests.items()},
            "versions": versions(),
        }
        extra = {
            "conditions": conditions,
            "curves": {key: contest.curve for key, contest in contests.items()},
            "minutes_to_90": times,
            "machine": common.machine(),
        }
        report.write_json(options.json, comparison, extra)


def verdict(times: dict[str, float | None], contests: dict[str, Contest]) -> list[str]:
    """When each reached the goal, and the ratio of the times."""
    lines = []
    for name, minutes in times.items():
        reached = f"after {minutes:.1f} minutes" if minutes is not None else "not"
        lines.append(f"{name}: {GOAL:.0%} route completion was {reached} reached")
    other = next((key for key in times if key != OURS), None)
    mine = times.get(OURS)
    if other is not None and mine is not None:
        theirs = times[other]
        if theirs is not None:
            lines.append(f"ratio: {mine / theirs:.3f}")
        else:
            lines.append(
                f"ratio: below {mine / contests[other].trained:.3f}, because {other} did not reach it"
            )
    return lines


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse


if __name__ == "__main__":
    main()
