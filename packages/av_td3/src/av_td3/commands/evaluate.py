"""``av-td3 evaluate``: how well does an agent drive on routes that it has never seen?"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from typing_extensions import Unpack

import av_td3
from av_td3.commands.changes import Changes, changed
from av_td3.commands.common import ObservedPolicy, check_before_start, draw_or_warn
from av_td3.commands.outputs import check_output
from av_td3.commands.terminal import say
from av_td3.config import Config, Pictures, flat
from av_td3.evaluation import report, rollout
from av_td3.evaluation.baselines import ClassicalDriver, RandomPolicy
from av_td3.evaluation.conditions import other_settings, traffic_in_words
from av_td3.evaluation.metrics import Comparison, compare
from av_td3.evaluation.pictures import ReplacedPictures
from av_td3.evaluation.video import VideoRecorder
from av_td3.supervision.crew import CrewMaker
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import policies
from av_td3.training.agents import make_agent, policy_of
from av_td3.training.run_directory import RunDirectory, write_atomically
from av_td3.training.signals import terminable
from av_td3.training.sources import AgentSource, find_agent
from av_td3.training.versions import simulator_name, versions


@dataclass(frozen=True)
class Output:
    """Where an evaluation is written to."""

    figures: Path
    """JSON with everything that was measured, and under which conditions."""
    table: Path
    """Markdown."""
    picture: Path
    """How far each route was driven, as PNG."""
    film: Path
    logs: Path | None
    """Folder of the simulator's logs; None: they are not kept."""
    prefix: str | None = None
    """Of the names of these logs; None: that of a training run's evaluations."""


def evaluate(
    path: str | Path,
    *,
    which: str | None = None,
    episodes: int | None = None,
    seed: int | None = None,
    baselines: bool = True,
    video: bool = True,
    picture: Pictures = "camera",
    json_file: Path | None = None,
    **changes: Unpack[Changes],
) -> Comparison:
    """Drive an agent, and others to compare it with, on routes that training never drove.

    Each call writes a table, the figures and a film into a new folder: below ``evaluations/`` of the
    run, or for a shipped agent below ``evaluations/`` of the working directory.

    Args:
        path: the run directory, or the name or folder of a shipped agent.
        which: the checkpoint of a run: ``best``, a step or a path; None for the newest.
        episodes: held-out episodes per agent; None for the agent's ``evaluation.final_episodes``.
        seed: of the first episode, the next ones count on from it; None for ``evaluation.seed``.
        baselines: also drive the untrained agent, random actions and the classical driver.
        video: film the trained agent.
        picture: what the agent gets to see in place of its camera's pictures.
        json_file: where to write the figures as well.
        **changes: settings that replace those of the run: ``npc``, ``map_``, ``address``, ``device``,
            ``weather``; and any others as ``settings``, a list of ``section.key=value``.

    Returns:
        The figures of every agent with their confidence intervals, the trained one first.

    Raises:
        ShippedAgentError, RunError, ConfigError, CheckpointError: there is no such agent, setting or
            checkpoint.
        DrivingError: the simulator cannot serve this, or failed too often in a row.
        EvaluationError: the simulator failed in every episode.
    """
    with terminable():
        check_output("--json", json_file)
        source = find_agent(path, which)
        config = changed(source.config, **changes)
        check_before_start(config)
        console = Console()
        introduce(source, console)
        parent = source.run.evaluations if source.run is not None else Path("evaluations")
        folder = new_folder(parent, f"{time.strftime('%Y%m%d-%H%M%S')}-{source.title}")
        logs, prefix = (source.run.logs, folder.name) if source.run is not None else (None, None)
        figures, table, routes = (folder / f"evaluation.{kind}" for kind in ("json", "md", "png"))
        try:
            comparison, conditions = _compare_agents(
                source,
                config,
                console,
                Output(figures, table, routes, folder / "film.mp4", logs, prefix),
                episodes=episodes or config.evaluation.final_episodes,
                seed=config.evaluation.seed if seed is None else seed,
                baselines=baselines,
                video=video,
                picture=picture,
                settings=_settings(source.config, changes.get("settings", ())),
            )
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing was measured
            raise
        if json_file is not None:
            report.write_json(json_file, comparison, {"conditions": conditions})
        say(console, f"written to:  {folder}")
        return comparison


def final_evaluation(
    run: RunDirectory, config: Config, console: Console, crews: CrewMaker | None = None
) -> Comparison:
    """The evaluation at the end of a training run, and of what to compare the agent with.

    ``crews``: where its simulator runs, unless on this machine.

    With ``evaluation.keep_best`` it is of the best policy that was evaluated, else of the last agent.
    """
    best = config.evaluation.keep_best and (run.policies / policies.BEST).is_file()
    comparison, _ = _compare_agents(
        find_agent(run.path, "best" if best else None),
        config.for_evaluation(),
        console,
        Output(
            run.evaluations / "final.json",
            run.evaluations / "final.md",
            run.evaluations / "final.png",
            run.videos / "final.mp4",
            run.logs,
        ),
        episodes=config.evaluation.final_episodes,
        seed=config.evaluation.seed,
        baselines=config.evaluation.baselines,
        video=config.evaluation.video,
        picture="camera",
        crews=crews,
        settings=_settings(config),
    )
    return comparison


def _settings(config: Config, given: Sequence[str] = ()) -> list[str]:
    """What the configuration itself and the call change for evaluations, as ``section.key=value``."""
    own = {key: f"{key}={json.dumps(value)}" for key, value in flat(config.evaluation.env, "env.").items()}
    called = (re.sub(r"^evaluation\.(?=env\.)", "", setting) for setting in given)  # the same key as above
    return list((own | {setting.partition("=")[0]: setting for setting in called}).values())


def introduce(source: AgentSource, console: Console) -> None:
    """Say which agent drives, and what is to be known about it."""
    for problem in source.problems:
        say(Console(stderr=True), f"skipped a checkpoint: {problem}")
    say(console, f"agent: {source.folder}")
    fault = source.run.injected_fault() if source.run is not None else None
    if fault is not None:
        say(console, f"this agent was trained with an injected fault: {fault}", style="bold red")


def _compare_agents(
    source: AgentSource,
    config: Config,
    console: Console,
    output: Output,
    *,
    episodes: int,
    seed: int,
    baselines: bool,
    video: bool,
    picture: Pictures,
    crews: CrewMaker | None = None,
    settings: Sequence[str] = (),
) -> tuple[Comparison, dict[str, Any]]:
    """Drive the trained agent and the baselines on the same routes; write table, figures and film."""
    agent = source.load(config)
    trained: rollout.Policy = source.policy(agent)
    if picture != "camera":
        trained = ReplacedPictures(trained, picture)
    contenders: dict[str, rollout.Policy] = {"trained": trained}
    if baselines:
        contenders |= {
            "untrained": policy_of(make_agent(config)),
            "random": RandomPolicy(),
        }
        if "route" in config.env.described:  # it drives by the route's points
            contenders["classical"] = ClassicalDriver(config.env)
    camera = VideoRecorder(output.film, title="trained", on_error=console.print) if video else None
    render_mode = "rgb_array" if video else None
    results: dict[str, rollout.Evaluation] = {}
    npc: set[int] = set()
    with contextlib.closing(
        SupervisedEnv(
            config.env,
            "held_out",
            log_dir=output.logs,
            name=output.prefix,
            render_mode=render_mode,
            crews=crews,
        )
    ) as env:
        if isinstance(trained, ReplacedPictures) and picture == "other":
            # The first episode needs the pictures of another one: one that is not scored.
            rollout.evaluate(env, trained, 1, seed + episodes, name="trained")
        for name, policy in contenders.items():
            with _progress(console, name) as tell:
                observed = ObservedPolicy(policy, tell, episodes)
                recorder = camera if name == "trained" else None
                results[name] = rollout.evaluate(env, observed, episodes, seed, record=recorder, name=name)
                npc |= observed.npc
    comparison = compare(results)
    simulator = config.env.simulator
    conditions: dict[str, Any] = {
        **source.described(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "map": simulator.map,
        "simulator": simulator_name(simulator),
        "traffic": {
            "wanted": simulator.npc,
            "there": sorted(npc),
            "placement": simulator.npc_placement,
            "speed": simulator.npc_speed,
            "driven_by": simulator.traffic,
        },
        "picture": picture,
        "weather": config.env.weather,
        "settings": list(settings),
        "device": str(agent.device),
        "episodes": episodes,
        "seed": seed,
        "versions": versions(),
    }
    line = _in_words(conditions)
    report.show(comparison, console)
    say(console, line)
    report.write_json(output.figures, comparison, {"conditions": conditions})
    write_atomically(output.table, f"{report.markdown(comparison)}\n{line}\n")
    title = f"map {simulator.map}, agent of step {conditions['step']:,}"
    draw_or_warn(results, output.picture, partial(say, Console(stderr=True)), title)
    for film in camera.files if camera else ():
        say(console, f"video:       {film}")
    return comparison, conditions


_SEEN: dict[Pictures, str] = {
    "camera": "",
    "black": "the agent saw black pictures, ",
    "frozen": "the agent saw the first picture of each episode all the time, ",
    "shuffled": "the agent saw earlier pictures of the episode at random, ",
    "other": "the agent saw the pictures of another episode, ",
}


def _in_words(conditions: dict[str, Any]) -> str:
    weather = "" if conditions["weather"] == "fixed" else f"weather {conditions['weather']}, "
    settings = "".join(f"{setting}, " for setting in other_settings(conditions))
    return (
        f"Map {conditions['map']}, {traffic_in_words(conditions)}, {weather}{settings}"
        f"{_SEEN[conditions['picture']]}agent of step {conditions['step']:,}, "
        f"seeds from {conditions['seed']:,}, av-td3 {av_td3.__version__}, {conditions['simulator']}."
    )


@contextlib.contextmanager
def _progress(console: Console, name: str) -> Iterator[Callable[[str], None]]:
    """Show how far an agent's drives have come; where there is no terminal, one line when they are done."""
    if not console.is_terminal:
        yield lambda _text: None
        say(console, f"evaluated {name}")
        return
    with console.status(f"evaluating {name} ...") as status:

        def tell(text: str) -> None:
            status.update(f"evaluating {name}: {text}")

        yield tell


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder that was not there before."""
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(name)
