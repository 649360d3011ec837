"""``av-td3``: the command line.

Exit status: 0 done; 1 failed while running; 2 bad input; 130 interrupted.  ``diagnose`` has its
own, see docs/diagnosis.md.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from av_td3 import __version__
from av_td3.config import Config, ConfigError, Pictures, Weather, load_config, preset_names, preset_text
from av_td3.errors import UserError
from rundoctor.cli import diagnose

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="End-to-end visual driving with TD3 on CARLA, with training that can be trusted.",
)
app.command()(diagnose)

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main() -> None:
    """Entry point of the ``av-td3`` command."""
    # Read when torch loads its OpenMP: threads that wait sleep instead of spinning.  Spinning
    # beside one busy neighbour on two cores cost a factor of ten in updates per second.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _show_warning
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line instead of a place in the code that means nothing to a user."""
    if issubclass(category, UserWarning):
        Console(stderr=True).print(
            f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True, highlight=False
        )


def _fail(message: str, status: int = BAD_INPUT) -> NoReturn:
    Console(stderr=True).print(
        f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True, highlight=False
    )
    raise typer.Exit(status)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """What a user can do something about becomes one line and an exit status."""
    try:
        yield
    except ConfigError as error:
        _fail(str(error))
    except UserError as error:
        _fail(str(error), error.status)


def _version(value: bool) -> None:
    if value:
        from av_td3.training.versions import build_details

        print(f"av-td3 {__version__}", *(f"  {line}" for line in build_details()), sep="\n")
        raise typer.Exit(OK)


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version and what it was built from.",
        ),
    ] = False,
) -> None:
    pass


# What `train` and `validate` take alike, and part of it `evaluate`.
Preset = Annotated[str, typer.Option(help="Named configuration to start from: `av-td3 presets` lists them.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file whose values replace those of the preset.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one setting, such as train.steps=5000.  Can be given several times.",
    ),
]
Change = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one setting that the agent was trained with, such as env.simulator.npc_placement=near.  "
        "Can be given several times.",
    ),
]
Carla = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Use the CARLA 0.9.16 server at this address.  Without it, the bundled simulator minicarla is "
        "started for you.",
    ),
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="Map to drive on: one of minicarla's (such as loop or town), an OpenDRIVE file (.xodr), or with "
        "--carla a map of that server.",
    ),
]
Npc = Annotated[int | None, typer.Option(min=0, help="Number of other vehicles.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")]

Device = Annotated[str | None, typer.Option(help="What torch computes on: auto, cpu, cuda or cuda:N.")]


WeatherOption = Annotated[
    Weather | None,
    typer.Option(
        help="Weather and light of each episode: fixed, the server's own; train, one of four; held_out, one "
        "of two that training never sees; all, any preset of CARLA.  Without it, as in training."
    ),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="HOST:PORT|local",
        help="Run on the machines of the Ray cluster whose head is at this address, or on this machine "
        "through Ray.  Needs `pip install 'av-td3[ray]'`; see docs/many-machines.md.",
    ),
]


RunDir = Annotated[
    Path | None, typer.Option(help="Folder to write the run into.  Without it, a new one below runs.")
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the whole configuration as YAML and do nothing else.")
]

presets_app = typer.Typer(help="List the bundled presets, or show one.")
app.add_typer(presets_app, name="presets", invoke_without_command=True, no_args_is_help=False)


@presets_app.callback()
def presets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        for name in preset_names():
            print(name)


@presets_app.command("show")
def show_preset(name: Annotated[str, typer.Argument(help="One of `av-td3 presets`.")]) -> None:
    """Print a preset: what it changes, with its reasons.  `train --print-config` shows every setting."""
    with _errors():
        print(preset_text(name), end="")


def _configuration(
    preset: str, config: Path | None, set_: list[str] | None, flags: dict[str, object]
) -> tuple[Config, list[str]]:
    """The configuration of a new run, and the ``section.key=value`` that the options stand for."""
    implied = []
    if flags["env.simulator.map"] is not None or flags["env.simulator.address"] is not None:
        implied.append("train.maps=[]")  # one map was asked for, not the several of the preset
    if flags["env.simulator.address"] is not None:
        implied.append("train.envs=1")
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    overrides = [*implied, *(set_ or []), *given]
    return load_config(preset, config, overrides), overrides


def _refuse_beside_resume(context: typer.Context, allowed: set[str]) -> None:
    """End with an error when options are given that --resume does not go with."""
    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in allowed and source is not None and source.name != "DEFAULT":
            given.append(parameter.opts[0])
    if given:
        _fail(f"--resume goes on with the run's own configuration; take away {', '.join(given)}")


@app.command()
def train(
    context: typer.Context,
    preset: Preset = "quick",
    config: ConfigFile = None,
    set_: Set = None,
    carla: Carla = None,
    map_: Map = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Environment steps of the whole run, of 0.05 s each.")
    ] = None,
    npc: Npc = None,
    envs: Annotated[
        int | None,
        typer.Option(min=1, help="Environments that are driven at once, each with a simulator of its own."),
    ] = None,
    eval_interval: Annotated[
        int | None, typer.Option(min=1, help="Steps between two evaluations on held-out routes.")
    ] = None,
    log_interval: Annotated[
        int | None, typer.Option(min=1, help="Steps between two rows of figures for TensorBoard.")
    ] = None,
    seed: Seed = None,
    inject: Annotated[
        str | None,
        typer.Option(
            metavar="FAULT",
            help="Train with a fault on purpose, to see whether it is noticed: `av-td3 faults` lists them.",
        ),
    ] = None,
    stop_on: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", help="End training at an alert of this level: never, warning or critical."
        ),
    ] = None,
    validated: Annotated[
        Path | None,
        typer.Option(
            help="Run directory of a passed `av-td3 validate --until 10000` with the same settings.  A run "
            "of a million steps or more needs one."
        ),
    ] = None,
    ungated: Annotated[
        bool, typer.Option("--ungated", help="Start a run of a million steps or more without a validation.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks instead of one-line errors.")
    ] = False,
    ray: RayAddress = None,
    ray_needs: Annotated[
        str,
        typer.Option(
            metavar="NAME=AMOUNT,...",
            help="With --ray: what each simulator takes of its node, such as CPU=2,GPU=0.25.",
        ),
    ] = "CPU=1",
    run_dir: RunDir = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with the run in this directory, with its own settings.  Only --steps may change.",
        ),
    ] = None,
    print_config: PrintConfig = False,
) -> None:
    """Train an agent from camera images, evaluate it on held-out routes and film it."""
    if resume is not None:
        _refuse_beside_resume(context, {"resume", "steps", "validated", "ungated", "ray", "ray_needs"})
    with _errors():
        settings, overrides = _configuration(
            preset,
            config,
            set_,
            {
                "env.simulator.address": carla,
                "env.simulator.map": map_,
                "env.simulator.npc": npc,
                "train.steps": steps,
                "train.envs": envs,
                "train.seed": seed,
                "train.log_interval": log_interval,
                "evaluation.interval": eval_interval,
                "train.stop_on": stop_on,
                "train.debug": True if debug else None,
            },
        )
        if print_config:
            print(settings.to_yaml(), end="")
            return
        from av_td3.commands import train as command  # torch: only when the input is good
        from av_td3.commands.common import Ray

        cluster = None if ray is None else Ray(ray, ray_needs)
        if resume is not None:
            status = command.resume(resume, steps, validated, ungated, cluster)
        else:
            fault = command.find_fault(inject) if inject is not None else None
            if fault is not None:
                settings = load_config(preset, config, [*fault.overrides, *overrides])
            if not ungated:
                command.check_earned(settings, validated)
            status = command.start(settings, preset, run_dir, fault, cluster)
    raise typer.Exit(status)


@app.command()
def validate(
    context: typer.Context,
    preset: Preset = "quick",
    config: ConfigFile = None,
    set_: Set = None,
    carla: Carla = None,
    map_: Map = None,
    npc: Npc = None,
    seed: Seed = None,
    until: Annotated[int, typer.Option(min=1, help="Steps at the end of the last stage.")] = 10_000,
    gates: Annotated[
        Path | None,
        typer.Option(help="YAML file with your own criteria.  Without it, those of the bundled gates.yaml."),
    ] = None,
    run_dir: RunDir = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Go on with the validation in this directory, after its last passed stage."
        ),
    ] = None,
    print_config: PrintConfig = False,
) -> None:
    """Train in stages of 500, 1K, 2K, 5K, 10K ... steps, and stop at the first that goes wrong.

    Each stage ends with criteria (the gates) on what was logged.  A run of a million steps must have
    passed the first 10,000 this way.
    """
    if resume is not None:
        _refuse_beside_resume(context, {"resume", "until", "gates"})
    with _errors():
        settings, _ = _configuration(
            preset,
            config,
            set_,
            {
                "env.simulator.address": carla,
                "env.simulator.map": map_,
                "env.simulator.npc": npc,
                "train.seed": seed,
            },
        )
        if print_config:
            print(settings.to_yaml(), end="")
            return
        from av_td3.commands import validate as command

        if resume is not None:
            status = command.resume(resume, until, gates)
        else:
            status = command.start(settings, preset, run_dir, until, gates)
    raise typer.Exit(status)


faults_app = typer.Typer(
    help="List the fault catalogue: failures that `av-td3 train --inject` makes on purpose."
)
app.add_typer(faults_app, name="faults", invoke_without_command=True, no_args_is_help=False)


@faults_app.callback()
def faults(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_faults()


@faults_app.command("list")
def list_faults() -> None:
    """List the faults: id, what happens, the alert and the finding that must name it."""
    from rich.table import Table

    from av_td3.training.fault_catalogue import FAULTS

    table = Table(title="Fault catalogue", title_justify="left", pad_edge=False)
    table.add_column("fault", no_wrap=True)
    table.add_column("what happens; the alert and the finding that must name it", overflow="fold")
    for fault in FAULTS.values():
        table.add_row(fault.id, f"{fault.what}\n[dim]{fault.alert}; {fault.finding}[/dim]")
    Console().print(table)


@app.command()
def evaluate(
    agent: Annotated[
        str, typer.Argument(help="Run directory of a training, or the name of a shipped agent such as base.")
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Which checkpoint to drive: `best` (by the evaluations during training), a step, or the "
            "path of one.  Without it, the newest.",
        ),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Held-out episodes per agent.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the first episode.")] = None,
    npc: Npc = None,
    map_: Map = None,
    carla: Carla = None,
    device: Device = None,
    weather: WeatherOption = None,
    set_: Change = None,
    baselines: Annotated[
        bool,
        typer.Option(help="Also drive the untrained agent, random actions and a classical controller."),
    ] = True,
    video: Annotated[bool, typer.Option(help="Film the trained agent.")] = True,
    picture: Annotated[
        Pictures,
        typer.Option(
            help="What the agent sees: its camera; black; the episode's first picture, frozen; the episode's "
            "pictures, shuffled; those of another episode.  An agent that drives as well with any of them "
            "does not use its camera."
        ),
    ] = "camera",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures into this file too.")
    ] = None,
) -> None:
    """Drive a trained agent on held-out routes and say how well, with confidence intervals.

    Each call writes into a new folder below RUN/evaluations, or evaluations for a shipped agent.
    """
    with _errors():
        from av_td3.commands import common
        from av_td3.commands import evaluate as command

        with common.one_line_errors():
            command.evaluate(
                agent,
                which=checkpoint,
                episodes=episodes,
                seed=seed,
                npc=npc,
                map_=map_,
                address=carla,
                device=device,
                weather=weather,
                settings=set_ or (),
                baselines=baselines,
                video=video,
                picture=picture,
                json_file=json_file,
            )


@app.command()
def drive(
    agent: Annotated[
        str, typer.Option(help="Name of a shipped agent, or the run directory of a training.")
    ] = "base",
    npc: Npc = None,
    map_: Map = None,
    carla: Carla = None,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE.mp4", help="Film everything that is driven into this file.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show the drive on a web page of this machine, in real time.")
    ] = False,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Routes to drive; without it 5, and with --live until Ctrl-C.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the first route.")] = None,
    device: Device = None,
    weather: WeatherOption = None,
    set_: Change = None,
) -> None:
    """Watch a trained agent drive routes that it was not trained on.  Without options: the agent `base`."""
    with _errors():
        from av_td3.commands import common
        from av_td3.commands import drive as command

        with common.one_line_errors():
            status = command.drive(
                agent,
                npc=npc,
                map_=map_,
                address=carla,
                device=device,
                weather=weather,
                settings=set_ or (),
                video=video,
                live=live,
                episodes=episodes,
                seed=seed,
            )
    raise typer.Exit(status)


@app.command()
def compare(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]RUN[:AGENT]...",
            help="Run directories, or JSON files of `av-td3 evaluate`.  Those of one NAME are training runs "
            "of one method; without a name, runs whose folders differ in -sSEED belong together.",
        ),
    ],
    metric: Annotated[
        str,
        typer.Option(
            help="Score of a drive: route_completion, driving_score, driving_score_2_1, success_rate or "
            "clean_success_rate."
        ),
    ] = "route_completion",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Show the untrained, random and classical drivers, too.")
    ] = False,
    stratified: Annotated[
        bool,
        typer.Option(
            "--stratified",
            help="Resample the runs of each route independently, as rliable does.  The intervals are then "
            "narrower: too narrow where a run is good or bad on all routes alike.",
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures into this file.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the performance profiles into this .png, .svg or .pdf file."),
    ] = None,
) -> None:
    """Compare methods, each trained with one or more seeds: interquartile mean, probability of improvement.

    All must have driven the same held-out routes: the final evaluations of runs with the same settings, or
    `av-td3 evaluate --json FILE` with the same --seed and --map.
    """
    with _errors():
        from av_td3.commands import common
        from av_td3.commands import compare as command

        with common.one_line_errors():
            command.compare(
                inputs,
                metric=metric,
                baselines=baselines,
                resampling="stratified" if stratified else "crossed",
                json_file=json_file,
                figure=figure,
            )


@app.command()
def sweep(
    file: Annotated[
        Path,
        typer.Argument(help="YAML file with preset, set, seeds, and trials or grid; see docs/evaluation.md."),
    ],
    into: Annotated[
        Path | None, typer.Option(help="Folder of the runs.  Without it, runs/ and the file's name.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at the same time.  Without it one, or with --ray as many as fit."),
    ] = None,
    ray: RayAddress = None,
    ray_needs: Annotated[
        str,
        typer.Option(
            metavar="NAME=AMOUNT,...",
            help="With --ray: what each run takes of its node, simulators included, such as CPU=4,GPU=1.",
        ),
    ] = "CPU=2",
    ungated: Annotated[
        bool, typer.Option("--ungated", help="Also runs of a million steps, without a validation.")
    ] = False,
    only_list: Annotated[
        bool, typer.Option("--list", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Train with several settings and seeds, one run after the other, and compare them.

    Each run is an ordinary run directory.  The same command again goes on where it was ended.
    """
    with _errors():
        from av_td3.commands import common
        from av_td3.commands import sweep as command

        with common.one_line_errors():
            status = command.sweep(
                file,
                into=into,
                jobs=jobs,
                ray=None if ray is None else common.Ray(ray, ray_needs),
                ungated=ungated,
                only_list=only_list,
            )
    raise typer.Exit(status)


@app.command()
def doctor(
    carla: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ask the CARLA server at this address as well.")
    ] = None,
) -> None:
    """Check the installation: is everything here that training needs?  (`diagnose` checks a run.)

    Exit status: 0 nothing failed, 1 something did.
    """
    with _errors():
        from av_td3.commands import doctor as command

        status = command.doctor(carla)
    raise typer.Exit(status)


@app.command()
def reference(
    env: Annotated[
        str, typer.Option(metavar="TASK", help="A Gymnasium task whose observation is a vector.")
    ] = "HalfCheetah-v5",
    seeds: Annotated[int, typer.Option(min=1, help="How many runs, each with a seed of its own.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first run.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each run.")] = 300_000,
    start_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of random actions before learning begins.  Without it, 25,000."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="sb3", help="Also train Stable-Baselines3's TD3, with the same settings."),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(min=1, help="Threads of torch.  Networks of this size gain little from a second."),
    ] = 1,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write settings and curves into this file too."),
    ] = None,
) -> None:
    """Check the agent on a task with published results: TD3 on the state alone, without pictures.

    Evaluations are 10 episodes every 5,000 steps, as in the paper.  MuJoCo's tasks need
    `pip install 'av-td3\\[mujoco]'`.
    """
    if baseline not in (None, "sb3"):
        _fail(f"--baseline {baseline}: the only one is sb3")
    with _errors():
        from av_td3.commands import reference as command

        status = command.run(
            env, seeds, first_seed, steps, start_steps, json_file, baseline == "sb3", threads
        )
    raise typer.Exit(status)


@app.command()
def export(
    agent: Annotated[
        str, typer.Argument(metavar="RUN_OR_AGENT", help="Run directory, or name or folder of an agent.")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Which checkpoint of the run: `best`, a step or a path.  Without it, the one that the final "
            "evaluation drove.",
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option(help="Also write the policy as ONNX (extra av-td3\\[onnx]).")] = True,
) -> None:
    """Write an agent for others: policy as safetensors and ONNX, configuration, model card, film.

    What was written is read again, and must give the same actions.
    """
    with _errors():
        from av_td3.commands import common
        from av_td3.commands import export as command

        with common.one_line_errors():
            command.export(agent, folder, checkpoint, onnx)
