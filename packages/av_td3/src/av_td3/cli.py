"""``av-td3``: one command line for everything.

Exit status: 0 done; 1 failed while running; 2 bad input; 130 interrupted.  ``diagnose`` has its
own, see docs/diagnosis.md.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from av_td3 import __version__
from av_td3.config import ConfigError, load_config, preset_names
from av_td3.errors import UserError
from rundoctor.cli import diagnose

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
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
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


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
        print(f"av-td3 {__version__}")
        raise typer.Exit(OK)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def presets() -> None:
    """List the bundled presets."""
    for name in preset_names():
        print(name)


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="Named configuration to start from: see `presets`.")] = "quick",
    config: Annotated[Path | None, typer.Option(help="YAML file laid over the preset.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value: section.key=value.  Repeatable.")
    ] = None,
    carla: Annotated[
        str | None, typer.Option(help="host:port of a CARLA 0.9.16 server; default: an own minicarla.")
    ] = None,
    map_: Annotated[str | None, typer.Option("--map", help="Map to drive on.")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps of the whole run.")] = None,
    npc: Annotated[int | None, typer.Option(help="Number of other vehicles.")] = None,
    eval_interval: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    log_interval: Annotated[int | None, typer.Option(help="Steps between rows of scalars.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    inject: Annotated[
        str | None, typer.Option(metavar="FAULT", help="Commit a fault of the catalogue: see `faults list`.")
    ] = None,
    stop_on: Annotated[
        str | None, typer.Option(help="End training at an alert: never, warning or critical.")
    ] = None,
    validated: Annotated[
        Path | None, typer.Option(help="Run directory whose 10K gate earns a run of a million steps.")
    ] = None,
    ungated: Annotated[bool, typer.Option(help="A million steps without a passed gate.")] = False,
    debug: Annotated[bool, typer.Option(help="Tracebacks instead of one-line errors.")] = False,
    run_dir: Annotated[Path | None, typer.Option(help="Where to write; default: runs/<name>.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run directory.")] = None,
) -> None:
    """Train an agent from camera images, evaluate it, film it."""
    overrides = list(set_ or [])
    flags = {
        "env.simulator.address": carla,
        "env.simulator.map": map_,
        "env.simulator.npc": npc,
        "train.steps": steps,
        "train.seed": seed,
        "train.log_interval": log_interval,
        "evaluation.interval": eval_interval,
        "train.stop_on": stop_on,
    }
    overrides += [f"{key}={value}" for key, value in flags.items() if value is not None]
    if debug:
        overrides.append("train.debug=true")

    if resume is not None and (preset != "quick" or config or overrides or run_dir or inject):
        _fail("--resume goes on with the configuration of the run: give no other options with it")
    with _errors():
        settings = load_config(preset, config, overrides)
        from av_td3.commands import train as command  # torch: only when the input is good

        if not resume and not ungated:
            command.check_earned(settings, validated)
        if resume:
            status = command.resume(resume)
        elif inject:
            fault = command.find_fault(inject)
            settings = load_config(preset, config, [*fault.overrides, *overrides])
            status = command.start(settings, preset, run_dir, fault)
        else:
            status = command.start(settings, preset, run_dir)
    raise typer.Exit(status)


@app.command()
def validate(
    preset: Annotated[str, typer.Option(help="Named configuration to start from.")] = "quick",
    config: Annotated[Path | None, typer.Option(help="YAML file laid over the preset.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value.  Repeatable.")] = None,
    carla: Annotated[str | None, typer.Option(help="host:port of a CARLA 0.9.16 server.")] = None,
    map_: Annotated[str | None, typer.Option("--map", help="Map to drive on.")] = None,
    npc: Annotated[int | None, typer.Option(help="Number of other vehicles.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    until: Annotated[int, typer.Option(min=1, help="Last stage, steps.")] = 10_000,
    gates: Annotated[Path | None, typer.Option(help="Criteria; default: the bundled gates.yaml.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where to write; default: runs/<name>.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this validation, after its last passed gate.")
    ] = None,
) -> None:
    """Train through gates: 500, 1K, 2K, 5K, 10K ... steps, stopping at the first that fails."""
    flags = {
        "env.simulator.address": carla,
        "env.simulator.map": map_,
        "env.simulator.npc": npc,
        "train.seed": seed,
    }
    overrides = list(set_ or []) + [f"{k}={v}" for k, v in flags.items() if v is not None]
    if resume is not None and (preset != "quick" or config or overrides or run_dir):
        _fail("--resume goes on with the configuration of the run: give only --until and --gates with it")
    with _errors():
        settings = load_config(preset, config, overrides)
        from av_td3.commands import validate as command

        if resume is not None:
            status = command.resume(resume, until, gates)
        else:
            status = command.start(settings, preset, run_dir, until, gates)
    raise typer.Exit(status)


faults_app = typer.Typer(help="The fault catalogue: failures that `train --inject` commits on purpose.")
app.add_typer(faults_app, name="faults", invoke_without_command=True, no_args_is_help=False)


@faults_app.callback()
def faults(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_faults()


@faults_app.command("list")
def list_faults() -> None:
    """List it: id, what happens, the alert and the finding that must name it."""
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
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    episodes: Annotated[int | None, typer.Option(min=2, help="Held-out episodes per agent.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="First seed of the episodes.")] = None,
    npc: Annotated[int | None, typer.Option(min=0, help="Number of other vehicles.")] = None,
    carla: Annotated[str | None, typer.Option(help="host:port of a CARLA 0.9.16 server.")] = None,
    baselines: Annotated[
        bool, typer.Option(help="Also drive the untrained agent, random and the classical driver.")
    ] = True,
    video: Annotated[bool, typer.Option(help="Film the first episode.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Drive a trained agent on held-out routes and say how well, with confidence intervals."""
    with _errors():
        from av_td3.commands import evaluate as command

        status = command.evaluate(
            run,
            episodes=episodes,
            seed=seed,
            npc=npc,
            address=carla,
            baselines=baselines,
            video=video,
            json_file=json_file,
        )
    raise typer.Exit(status)
