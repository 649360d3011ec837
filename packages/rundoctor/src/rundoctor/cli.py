"""``rundoctor``, which is also ``av-td3 diagnose``: what is wrong with a training run, and what to do."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .compare import RunComparison
    from .load import Loaded
    from .model import Report

UNREADABLE = 3
"""Exit status where something that was named could not be read, or a report could not be written."""

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_rules(wanted: bool) -> None:
    """``--rules``: what is looked for, and why the evidence supports it."""
    if not wanted:
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from .rules import all_rules

    console = Console(highlight=False)
    for rule in sorted(all_rules(), key=lambda r: r.order):
        console.print(Text.assemble((rule.id, "bold"), f"  {rule.title}"))
        console.print(Padding(Text(rule.statement), (0, 0, 0, 4)))
        if rule.explains:
            console.print(Padding(Text("explains: " + ", ".join(rule.explains), style="dim"), (0, 0, 0, 4)))
    raise typer.Exit


def _print_names(wanted: bool) -> None:
    """``--names``: what ``--map`` takes."""
    if not wanted:
        return
    from .naming import AXES
    from .signals import SIGNALS

    for name, text in AXES.items():
        typer.echo(f"{name:<24}{text}")
    for signal in SIGNALS:
        typer.echo(f"{signal.name:<24}{signal.meaning}")
    raise typer.Exit


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        typer.echo(f"rundoctor {__version__}")
        typer.echo(f"  folder    {Path(__file__).parent}")
        typer.echo(f"  python    {platform.python_version()} on {platform.platform()}")
        packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "matplotlib", "plotly"))
        typer.echo(f"  packages  {packages}")
        raise typer.Exit


@app.command()
def diagnose(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Run directories, event files, CSV and JSON files, or folders that hold them.",
        ),
    ],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything as JSON; - for standard output."),
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one HTML file with interactive plots."),
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the report as Markdown.")
    ] = None,
    csv_folder: Annotated[
        Path | None, typer.Option("--csv", metavar="DIR", help="Write every series as a CSV file.")
    ] = None,
    figures_folder: Annotated[
        Path | None, typer.Option("--figures", metavar="DIR", help="Write the plots as PNG files.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="TAG=NAME",
            help='Say what a tag or column stands for, as in "Av. Q=q1_mean". Can be repeated.',
        ),
    ] = None,
    names_file: Annotated[
        Path | None,
        typer.Option("--map-file", metavar="FILE", help="Read such statements from a file, one a line."),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="NAME=VALUE",
            help="State a hyper-parameter that the files do not hold: steps (planned), gamma, tau, ... "
            "Can be repeated.",
        ),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Source tree to compare the run's code with (default: this installation)."
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Show all evidence, causes, fixes, and what was ruled out.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print one line a run.")] = False,
    rules: Annotated[
        bool,
        typer.Option(
            "--rules",
            callback=_print_rules,
            is_eager=True,
            help="List what is looked for, and why; then exit.",
        ),
    ] = False,
    list_names: Annotated[
        bool,
        typer.Option(
            "--names", callback=_print_names, is_eager=True, help="List the names for --map; then exit."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version; then exit."
        ),
    ] = False,
) -> None:
    """Say what is wrong with a training run, why, and what to do.

    Reads files only: runs of av-td3, TensorBoard event files, CSV and JSON of
    Stable-Baselines3, CleanRL, RLlib, rlkit, Spinning Up and others. Several
    runs are judged one by one and compared.

    Exit status: 0 nothing above info, 1 warnings, 2 critical findings (or wrong
    usage of this command), 3 a path could not be read, 4 whether the agent
    learns could not be judged.
    """
    from rich.console import Console

    from .compare import compare
    from .engine import diagnose as judge
    from .load import load
    from .report import terminal

    to_stdout = json_file is not None and str(json_file) == "-"
    console = Console(stderr=to_stdout, highlight=False)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    stated = _names(names or [], names_file)
    loaded = load(paths, given=_assumptions(assume or []), tree=tree, names=stated)
    if loaded.runs:
        _check_names_used(stated, loaded)
    reports = [judge(run) for run in loaded.runs]
    comparison = compare(reports) if len(reports) > 1 else None
    for i, report in enumerate(reports):
        if quiet:
            terminal.print_verdict(report, console)
            continue
        if i:
            console.print()
        terminal.print_report(report, console, full, brief=len(reports) > 2)
    if comparison is not None and not quiet:
        terminal.print_comparison(comparison, console)
    for problem in loaded.unreadable:
        errors.print(f"cannot use {problem}", style="yellow", markup=False)
    for problem in loaded.problems:
        errors.print(f"note: {problem}", style="yellow", markup=False)
    try:
        if reports:
            _write_reports(reports, comparison, html_file, markdown_file, csv_folder, figures_folder)
        if json_file is not None:
            from .report.export import to_json

            text = to_json(reports, comparison, loaded.problems + loaded.unreadable)
            if to_stdout:
                typer.echo(text)
            else:
                _write(json_file, text)
    except OSError as error:
        errors.print(f"cannot write {error.filename}: {error.strerror}", style="red", markup=False)
        raise typer.Exit(UNREADABLE) from None
    if loaded.unreadable or not reports:
        raise typer.Exit(UNREADABLE)
    raise typer.Exit(terminal.exit_status(reports))


def _write_reports(
    reports: list[Report],
    comparison: RunComparison | None,
    html_file: Path | None,
    markdown_file: Path | None,
    csv_folder: Path | None,
    figures_folder: Path | None,
) -> None:
    """Write the wanted reports; what draws is only imported where it is used.

    Raises:
        OSError: something cannot be written.
    """
    figures: dict[str, list[Path]] = {}
    if figures_folder is not None:
        from .report.figures import write_figures

        figures = write_figures(reports, figures_folder)
    if csv_folder is not None:
        from .report.export import write_csv

        write_csv([r.run for r in reports], csv_folder)
    if markdown_file is not None:
        from .report.markdown import markdown

        _write(markdown_file, markdown(reports, comparison, figures, markdown_file.parent))
    if html_file is not None:
        from .report.html import html

        _write(html_file, html(reports, comparison))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _names(items: list[str], file: Path | None) -> dict[str, str]:
    from .naming import NamingError, parse_names

    try:
        return parse_names(items, file)
    except NamingError as error:
        raise typer.BadParameter(str(error), param_hint="--map") from None
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--map-file") from None


def _check_names_used(stated: dict[str, str], loaded: Loaded) -> None:
    """A misspelt tag in ``--map`` would change nothing in silence."""
    for tag in stated:
        if not any(tag in run.series or tag in run.axis_columns for run in loaded.runs):
            raise typer.BadParameter(f"no run has a tag or a column {tag!r}", param_hint="--map")


def _assumptions(items: list[str]) -> dict[str, float]:
    from .sidefiles import NAMES

    out = {}
    for item in items:
        name, separator, value = item.partition("=")
        name = name.strip()
        try:
            out[name] = float(value.replace("_", "").replace(",", ""))
        except ValueError:
            separator = ""
        if not separator or not name:
            raise typer.BadParameter(f"{item!r} is not of the form NAME=NUMBER", param_hint="--assume")
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise typer.BadParameter(f"{name!r} is not known; there are: {known}", param_hint="--assume")
    return out


def main() -> None:
    """Entry point of the ``rundoctor`` command."""
    app(prog_name="rundoctor")
