"""Trains the recipe and other agents with the same budget: environment, steps and minutes of a preset.

    python -m benchmarks.comparison [--into runs/comparison] [--seeds 0 1 2] [--steps 10000] [--minutes 12]
    python -m benchmarks.comparison --list      # what is left to do

Each agent trains until its steps or its minutes are used up, whichever comes first; evaluations do not count.

  recipe                   the preset as it is
  no demonstrations        the recipe without demonstrations: it learns from its own driving alone
  recipe, DDPG             the recipe without what TD3 adds to DDPG: twin minimum, delay, target noise
  TD3, plain               this TD3 with the settings of its authors' code and Nature encoders, nothing else
  DDPG, plain              TD3, plain, without what TD3 adds to DDPG
  SB3 TD3                  Stable-Baselines3's TD3 with its default settings
  SB3 TD3, our sizes       the same with batch, learning rates and widths of the preset
  classical                pure pursuit and PID; knows vehicles and lights exactly
  random, untrained        random actions; networks before any training

The same command goes on where it was stopped.  It prints the table of av-td3 compare and a Markdown table
(benchmarks/run_table.py), and writes compare.json, profiles.png and table.md into the folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from av_td3.commands import compare, sweep
from av_td3.errors import UserError
from benchmarks import common, run_table

PLAIN: dict[str, Any] = {
    "agent.encoder": "separate",
    "agent.encoder_net": "nature",
    "agent.feature_size": 512,
    "agent.feature_norm": "none",
    "agent.batch_size": 256,
    "agent.critic_layer_norm": False,
    "agent.action_change_penalty": 0,
    "agent.pre_tanh_penalty": 0,
    "agent.actor_clip_norm": None,
    "agent.critic_clip_norm": None,
    "agent.critic_warmup": 0,
    "agent.actor_final_init": 256**-0.5,  # torch's own for a linear layer
    "exploration.warmup_driver": "random",
    "exploration.warmup_steps": 1000,
    "exploration.initial_noise": 0.1,
    "exploration.noise": 0.1,
    "evaluation.averaged": False,
    "train.threads": None,  # as many as there are cores, as Stable-Baselines3 takes
}
"""TD3 as its authors published it (sfujim/TD3), with an encoder in front of each network."""
DDPG: dict[str, Any] = {"agent.target_q": "q1", "agent.policy_delay": 1, "agent.policy_noise": 0}
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "recipe": ("recipe", {"evaluation.baselines": True}),
    "no demonstrations": ("no-demonstrations", {"exploration.warmup_driver": "random"}),
    "recipe, DDPG": ("recipe-ddpg", DDPG),
    "TD3, plain": ("td3-plain", PLAIN),
    "DDPG, plain": ("ddpg-plain", PLAIN | DDPG),
}
"""Label -> name of the runs, and the settings of the preset that they change."""
SB3 = {"SB3 TD3": ("sb3-td3", "default"), "SB3 TD3, our sizes": ("sb3-td3-sizes", "preset")}
"""Label -> name of the files, and ``--networks`` of :mod:`benchmarks.sb3_baseline`."""
SB3_AGENT = "SB3 TD3"


def sweep_file(options: argparse.Namespace, seeds: Sequence[int]) -> Path:
    """Write the sweep's file for this project's runs with these seeds."""
    budget = {"train.steps": options.steps, "train.max_minutes": options.minutes}
    evaluation = {"evaluation.final_episodes": options.episodes, "evaluation.interval": 10 * options.steps}
    outputs = {"evaluation.baselines": False, "evaluation.video": False}
    tree = {
        "preset": options.preset,
        "set": budget | evaluation | outputs,
        "seeds": list(seeds),
        "trials": {name: changes for name, changes in OURS.values() if name in options.only},
    }
    file: Path = options.into / "sweep.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file


def sb3_file(options: argparse.Namespace, name: str, seed: int) -> Path:
    """The file with the figures of a run of Stable-Baselines3."""
    folder: Path = options.into
    return folder / f"{name}-s{seed}.json"


def sb3_command(options: argparse.Namespace, networks: str, seed: int, file: Path) -> list[str]:
    """Train and evaluate Stable-Baselines3's TD3 with this budget."""
    command = [sys.executable, "-m", "benchmarks.sb3_baseline", "--only", "sb3", "--networks", networks]
    command += ["--preset", options.preset, "--seed", str(seed), "--steps", str(options.steps)]
    command += ["--minutes", str(options.minutes), "--interval", str(10 * options.steps)]
    return [*command, "--final-episodes", str(options.episodes), "--json", str(file)]


def run_all(options: argparse.Namespace) -> None:
    """Make the runs that are missing: all of the first seed, then all of the next."""
    for last in range(len(options.seeds)):
        seeds = options.seeds[: last + 1]
        status = sweep.sweep(sweep_file(options, seeds), into=options.into)
        if status:
            raise SystemExit(status)
        for name, networks in SB3.values():
            file = sb3_file(options, name, seeds[-1])
            if name in options.only and not file.exists():
                print(f"{file.stem} starts", flush=True)
                with (options.into / "logs" / f"{file.stem}.log").open("w") as log:
                    command = sb3_command(options, networks, seeds[-1], file)
                    subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)


def inputs(options: argparse.Namespace) -> list[str]:
    """The runs and files that exist, as arguments of ``av-td3 compare``."""
    found, baselines = [], []
    for label, (name, _) in OURS.items():
        for seed in options.seeds:
            run = options.into / f"{name}-s{seed}"
            if name in options.only and (run / "evaluations" / "final.json").exists():
                found.append(f"{label}={run}")
                if name == "recipe":
                    baselines.append(f"untrained={run}:untrained")
    for label, (name, _) in SB3.items():
        files = [sb3_file(options, name, seed) for seed in options.seeds if name in options.only]
        found += [f"{label}={file}:{SB3_AGENT}" for file in files if file.exists()]
    if baselines:
        first = f"{options.into}/recipe-s{options.seeds[0]}"
        baselines += [f"{name}={first}:{name}" for name in ("random", "classical")]
    return found + baselines


def show(options: argparse.Namespace) -> None:
    """Print and write the tables of the runs that exist."""
    texts = inputs(options)
    folder: Path = options.into
    compared = compare.compare(
        texts, metric=options.metric, json_file=folder / "compare.json", figure=folder / "profiles.png"
    )
    rows = run_table.rows(compared)
    table = run_table.markdown(rows)
    print(f"\n{table}")
    (folder / "table.md").write_text(table + "\n")
    common.write_json(options.json, {"budget": vars(_budget(options)), "rows": rows})


def _budget(options: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(steps=options.steps, minutes=options.minutes, preset=options.preset)


def main(words: Sequence[str] | None = None) -> None:
    """Make the runs and print the tables."""
    parser = common.options(__doc__)
    parser.add_argument("--into", type=Path, default=Path("runs/comparison"), help="folder of the runs")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=10_000, help="at most, for each agent")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training at most, for each agent")
    parser.add_argument("--episodes", type=int, default=50, help="held-out routes")
    parser.add_argument("--metric", choices=compare.SCORES, default="route_completion")
    names = [name for name, _ in (*OURS.values(), *SB3.values())]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, help="train and show these agents only"
    )
    parser.add_argument("--list", action="store_true", help="list what is left to do, and do nothing")
    parser.add_argument("--table", action="store_true", help="only print the tables of the runs that exist")
    options = parser.parse_args(words)
    try:
        if options.list:
            sweep.sweep(sweep_file(options, options.seeds), into=options.into, only_list=True)
            for name, _ in SB3.values():
                for file in (sb3_file(options, name, seed) for seed in options.seeds):
                    print(f"{'done' if file.exists() else 'new':6}{file.stem}")
            return
        if not options.table:
            run_all(options)
        show(options)
    except UserError as error:
        parser.exit(error.status, f"error: {error}\n")


if __name__ == "__main__":
    main()
