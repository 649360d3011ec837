"""``av-td3 evaluate``: how well does the agent of a run drive on routes that it has never seen?"""

from __future__ import annotations

import contextlib
from pathlib import Path

from rich.console import Console

from av_td3.agent.td3 import TD3
from av_td3.commands.common import OK, one_line_errors, say
from av_td3.config import Config, EnvConfig
from av_td3.evaluation import report, rollout
from av_td3.evaluation.baselines import ClassicalDriver, RandomPolicy
from av_td3.evaluation.metrics import Comparison, compare
from av_td3.evaluation.video import VideoRecorder
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import checkpoint
from av_td3.training.agents import make_agent, policy_of
from av_td3.training.run_directory import RunDirectory, write_atomically
from av_td3.training.signals import terminable


def evaluate(
    path: Path,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    npc: int | None = None,
    address: str | None = None,
    baselines: bool = True,
    video: bool = True,
    json_file: Path | None = None,
) -> int:
    """Drive the agent of a run on held-out routes; returns the exit status."""
    with one_line_errors(), terminable():
        run = RunDirectory.open(path)
        config = run.config()
        changes = {"npc": npc, "address": address}
        simulator = config.env.simulator.model_copy(
            update={key: value for key, value in changes.items() if value is not None}
        )
        env_config = config.env.model_copy(update={"simulator": simulator})
        settings = config.evaluation
        agent = make_agent(config)
        newest, _, problems = checkpoint.newest_good(run.checkpoints)
        for problem in problems:
            say(Console(stderr=True), f"skipped a checkpoint: {problem}")
        checkpoint.load_agent(newest, agent, optimizers=False)
        console = Console()
        say(console, f"agent: {newest}")
        comparison = final_evaluation(
            run,
            config,
            agent,
            console,
            env_config=env_config,
            episodes=episodes or settings.final_episodes,
            seed=settings.seed if seed is None else seed,
            baselines=baselines,
            video=video,
        )
        if json_file is not None:
            report.write_json(json_file, comparison)
        return OK


def final_evaluation(
    run: RunDirectory,
    config: Config,
    agent: TD3,
    console: Console,
    *,
    episodes: int,
    seed: int,
    env_config: EnvConfig | None = None,
    baselines: bool = True,
    video: bool = True,
) -> Comparison:
    """The agent, and what to compare it with, on the same held-out routes; table, JSON, video."""
    env_config = env_config or config.env
    contenders: dict[str, rollout.Policy] = {"trained": policy_of(agent)}
    if baselines:
        contenders |= {
            "untrained": policy_of(make_agent(config)),
            "random": RandomPolicy(),
            "classical": ClassicalDriver(env_config),
        }
    results: dict[str, rollout.Evaluation] = {}
    render_mode = "rgb_array" if video else None
    camera = (
        VideoRecorder(run.videos / "final.mp4", title="trained", on_error=console.print) if video else None
    )
    with contextlib.closing(
        SupervisedEnv(env_config, "held_out", log_dir=run.logs, render_mode=render_mode)
    ) as env:
        for name, policy in contenders.items():
            with console.status(f"evaluating {name} on {episodes} held-out routes ..."):
                recorder = camera if name == "trained" else None
                results[name] = rollout.evaluate(env, policy, episodes, seed, record=recorder, name=name)
    comparison = compare(results)
    report.show(comparison, console)
    report.write_json(run.evaluations / "final.json", comparison)
    write_atomically(run.evaluations / "final.md", report.markdown(comparison))
    for film in camera.files if camera else ():
        say(console, f"video:       {film}")
    return comparison
