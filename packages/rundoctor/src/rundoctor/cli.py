"""``rundoctor``, which is also ``av-td3 diagnose``: what went wrong in a run, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

UNREADABLE = 3


def _print_rules(wanted: bool) -> None:
    """``--rules``: what is looked for, and why it means what it means."""
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


def diagnose(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Run directories, event files, folders of them, CSV files."),
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
    assume: Annotated[
        list[str] | None,
        typer.Option(
            "--assume",
            metavar="NAME=VALUE",
            help="State what the files do not hold: steps (planned), gamma, tau, actor_clip_norm, ...",
        ),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Source tree to compare the run's code with (default: this installation)."
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All evidence, causes, fixes, and what was ruled out.")
    ] = False,
    rules: Annotated[
        bool,
        typer.Option(
            "--rules",
            callback=_print_rules,
            is_eager=True,
            help="List what is looked for, and why; then exit.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="One line a run.")] = False,
) -> None:
    """Say what is wrong with a training run, why, and what to do.

    Reads files only: this project's runs, TensorBoard event files of Stable-Baselines3, CleanRL,
    TorchRL and others, and CSV. Several runs are compared.

    Exit status: 0 nothing above info, 1 warnings, 2 critical, 3 the input could not be read.
    """
    from rich.console import Console

    from .compare import compare
    from .engine import diagnose as judge
    from .load import load
    from .report import terminal

    to_stdout = json_file is not None and str(json_file) == "-"
    console = Console(stderr=to_stdout, highlight=False)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    loaded = load(paths, given=_assumptions(assume or []), tree=tree)
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
    for problem in loaded.problems + loaded.unreadable:
        errors.print(f"cannot use {problem}", style="yellow", markup=False)
    try:
        if reports:
            figures: dict[str, list[Path]] = {}
            if figures_folder is not None:
                from .report.figures import write_figures

                figures = write_figures(reports, figures_folder)
            if csv_folder is not None:
                from .report.export import write_csv

                write_csv([r.run for r in reports], csv_folder)
            if markdown_file is not None:
                from .report.markdown import markdown

                text = markdown(reports, comparison, figures, markdown_file.parent)
                _write(markdown_file, text)
            if html_file is not None:
                from .report.html import html

                _write(html_file, html(reports, comparison))
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
    raise typer.Exit(int(terminal.worst(reports)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _assumptions(items: list[str]) -> dict[str, float]:
    from .load import NAMES

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
    typer.run(diagnose)
