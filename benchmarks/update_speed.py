"""Updates per second of this TD3 and of Stable-Baselines3's, which take turns on the same machine.

    python -m benchmarks.update_speed [--batch 64] [--seconds 3] [--rounds 5] [--count] [--json FILE]

Each works in a process of its own, with the settings that its users get: Stable-Baselines3 with its defaults,
this one with those of its command.  Each draws the batch of every update from its replay.  In both, waiting
threads sleep, which helps both on a busy machine.

  Stable-Baselines3  TD3 with MultiInputPolicy: Nature CNN 4x84x84 -> 512 for actor and critic each,
                     a vector of 53 numbers, heads 256-256, policy delay 2
  same networks      this TD3 with exactly these networks
  quick              this TD3 with networks, settings and threads of the preset quick
  quick, prefetch    the same, with a thread that prepares the next batch (replay.prefetch)

Where the processor computes in bfloat16, both networks have a second row.  --count prints the
multiply-adds of an update by part and layer, with the speed of each operation alone and of the whole update.
To measure as on a processor without AVX-512:

    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 python -m benchmarks...
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the command does

import numpy as np
import torch

from av_td3.agent.td3 import TD3
from av_td3.config import Config, load_config
from av_td3.training import agents, arithmetic
from av_td3.training.batches import Batches
from av_td3.training.memory import tune_allocator
from benchmarks import common, multiply_adds

SB3, SAME, QUICK = "Stable-Baselines3", "same networks", "quick"
PREFETCH, BFLOAT16 = ", prefetch", ", bfloat16"
NAMES = (SB3, SAME, QUICK, QUICK + PREFETCH, SAME + BFLOAT16, QUICK + BFLOAT16)
"""Names of the rows; the last two where the processor computes in bfloat16."""
_SAME = ["agent.encoder=separate", "agent.feature_norm=none", "train.device=cpu"]


def configuration(name: str, batch: int, changes: Sequence[str] = ()) -> Config:
    """The configuration of one of this project's contenders."""
    preset = QUICK if name.startswith(QUICK) else None
    settings = [f"agent.batch_size={batch}", "agent.critic_warmup=0", "train.device=cpu"]
    settings += [] if preset else _SAME
    settings += ["agent.precision=bfloat16"] if name.endswith(BFLOAT16) else []
    settings += ["replay.prefetch=true"] if name.endswith(PREFETCH) else []
    return load_config(preset, None, [*settings, *changes])


def updates(agent: TD3, batches: Batches) -> Callable[[], int]:
    """A function that makes ``policy_delay`` updates, each with a batch of its own."""

    def work() -> int:
        for _ in range(agent.config.policy_delay):
            batch = batches.next()
            with batches.preparing_next():
                agent.update(batch)
        return agent.config.policy_delay

    return work


def stable_baselines(batch: int) -> Callable[[], int]:
    """A function that makes two updates of Stable-Baselines3's TD3, with batches from its replay."""
    import gymnasium as gym
    from stable_baselines3 import TD3 as SB3TD3

    vector = Config().env.vector_size

    class Fake(gym.Env):
        observation_space = gym.spaces.Dict(
            image=gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
            vector=gym.spaces.Box(-np.inf, np.inf, (vector,), np.float32),
        )
        action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
            return self.observation_space.sample(), {}

        def step(self, _: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self.observation_space.sample(), 0.0, False, False, {}

    model = SB3TD3(
        "MultiInputPolicy",
        Fake(),
        buffer_size=2 * batch + 300,
        batch_size=batch,
        learning_starts=0,
        policy_kwargs={"net_arch": [256, 256]},
        device="cpu",
    )
    model._setup_learn(10)
    assert model.replay_buffer is not None
    for _ in range(batch + 200):
        obs = model.observation_space.sample()
        stacked: Any = {k: v[None] for k, v in obs.items()}  # SB3 declares arrays, and takes these
        action = model.action_space.sample()[None]
        model.replay_buffer.add(stacked, stacked, action, np.zeros(1), np.zeros(1), [{}])

    def work() -> int:
        model.train(gradient_steps=2, batch_size=batch)
        return 2

    return work


def contend(name: str, batch: int, threads: int | None, changes: Sequence[str]) -> None:
    """Be one of the contenders."""
    if name == SB3:
        if threads:
            torch.set_num_threads(threads)
        common.serve_turns(stable_baselines(batch))
        return
    config = arithmetic.measured(configuration(name, batch, changes), lambda text: None)
    set_threads(config, threads)
    tune_allocator()
    agent = agents.make_agent(config)
    draw = common.sampling(config, agent.device, "cpu")
    with contextlib.closing(Batches(draw, agents.prepares_ahead(config, agent.device))) as batches:
        common.serve_turns(updates(agent, batches))


def set_threads(config: Config, threads: int | None) -> None:
    """Use the threads that were asked for, or else those of the configuration, or else torch's choice."""
    chosen = threads or config.train.threads
    if chosen:
        torch.set_num_threads(chosen)


def main() -> None:
    """Run the benchmark."""
    parser = common.options(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, help="of every contender; default: the number that its users get"
    )
    parser.add_argument("--count", action="store_true", help="multiply-adds and GFLOP/s by layer")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of this TD3"
    )
    parser.add_argument("--only", action="append", help="measure only this one and the first")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contend:
        contend(options.contend, options.batch, options.threads, options.set)
        return

    names = [name for name in NAMES if arithmetic.has_bfloat16() or not name.endswith(BFLOAT16)]
    if options.only:
        names = [SB3, *(name for name in names if name in options.only and name != SB3)]
    arguments = ["-m", "benchmarks.update_speed", "--batch", str(options.batch)]
    arguments += ["--threads", str(options.threads)] if options.threads else []
    arguments += [part for change in options.set for part in ("--set", change)]
    with common.contenders({name: [*arguments, "--contend", name] for name in names}) as runners:
        common.take_turns(runners, options.seconds, options.rounds)
    rows: list[dict[str, Any]] = []
    print(f"batch {options.batch}; torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'':28} {'updates/s':>10} {'ratio':>7} {'a processor second':>19} {'ratio':>7}")
    for runner in runners:
        ratio = runner.median("per_s") / runners[0].median("per_s")
        per_cpu = runner.median("per_cpu_s")
        cpu_ratio = per_cpu / runners[0].median("per_cpu_s")
        rows.append(
            {
                "name": runner.name,
                "updates_per_s": runner.median("per_s"),
                "ratio": ratio,
                "updates_per_cpu_s": per_cpu,
                "cpu_ratio": cpu_ratio,
            }
        )
        print(
            f"{runner.name:28} {rows[-1]['updates_per_s']:10.1f} {'x':>2}{ratio:5.2f} {per_cpu:19.1f} "
            f"{'x':>2}{cpu_ratio:5.2f}"
        )
    if options.count:
        for row in rows[1:]:
            config = configuration(row["name"], options.batch, options.set)
            set_threads(config, options.threads)
            agent, batch = agents.make_agent(config), arithmetic.random_batch(config)
            row["count"] = multiply_adds.report(
                row["name"], multiply_adds.count(agent, batch), row["updates_per_cpu_s"]
            )
    common.write_json(options.json, {"batch": options.batch, "rows": rows})


if __name__ == "__main__":
    main()
