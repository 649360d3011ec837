"""The answer on the terminal: verdict first, then what supports it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule as Line
from rich.text import Text

from ..model import CRITICAL, WARNING, Finding, Report, Severity, number

STYLE = {0: "cyan", 1: "yellow", 2: "red"}
WORD = {0: "HEALTHY", 1: "WARNING", 2: "CRITICAL"}


def print_report(report: Report, console: Console, full: bool = False) -> None:
    """Print one run's diagnosis.

    Args:
        full: every finding with cause and fix, and everything that was ruled out.
    """
    run = report.run
    worst = report.severity
    color = "green" if worst < WARNING else STYLE[worst]
    body = Text()
    body.append(report.verdict.sentence)
    body.append("\n\nWhat to do: ", style="bold")
    body.append(report.verdict.action)
    console.print(
        Panel(
            body,
            title=f"[bold]{WORD[worst]}[/] {run.name}",
            title_align="left",
            border_style=color,
            padding=(0, 1),
        )
    )
    console.print(Text(_summary(report), style="dim"))
    for note in run.notes:
        console.print(Text(f"note: {note}", style="dim"))
    for finding in report.findings:
        _print_finding(finding, console, full)
    if report.missing:
        console.print(Line("could not be judged", style="dim", align="left"))
        for m in report.missing[: None if full else 6]:
            console.print(Text.assemble(("? ", "magenta"), (m.title, "bold"), f": {m.reason}"))
    if full:
        console.print(Line("ruled out", style="dim", align="left"))
        for r in report.ruled_out:
            console.print(Text.assemble(("- ", "green"), (r.title, "bold"), f": {r.reason}"))


def _summary(report: Report) -> str:
    run = report.run
    parts = [f"{run.last_step:,} steps"]
    if run.episodes:
        parts.append(f"{run.episodes:,} episodes")
    if math.isfinite(run.seconds):
        parts.append(f"{number(run.seconds)} s")
    if math.isfinite(run.steps_per_second):
        parts.append(f"{number(run.steps_per_second)} steps/s")
    first, _ = run.wall_span
    if math.isfinite(first) and first > 1e8:
        parts.append(datetime.fromtimestamp(first, timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))
    parts.append(f"tags of {run.system}")
    return " | ".join(parts)


def _print_finding(finding: Finding, console: Console, full: bool) -> None:
    style = STYLE[finding.severity]
    head = Text.assemble(
        (f"{str(finding.severity).upper():<8} ", f"bold {style}"),
        (finding.title, "bold"),
        (f"  {finding.id}", "dim"),
    )
    console.print()
    console.print(head)
    for e in finding.evidence:
        console.print(Padding(Text.assemble(("· ", style), e.text, (f"  [{e.tag}]", "dim")), (0, 0, 0, 2)))
    for s in finding.symptoms:
        text = s.evidence[0].text if s.evidence else ""
        console.print(
            Padding(
                Text.assemble(("└ so: ", "bold"), s.title, f" - {text}", (f"  {s.id}", "dim")), (0, 0, 0, 2)
            )
        )
    if full or finding.severity >= CRITICAL:
        console.print(Padding(Text.assemble(("cause  ", "bold"), finding.cause), (0, 0, 0, 2)))
    if full or finding.severity >= WARNING:
        console.print(Padding(Text.assemble(("fix    ", "bold"), finding.fix), (0, 0, 0, 2)))


def print_all(reports: Sequence[Report], console: Console, full: bool = False) -> None:
    for i, report in enumerate(reports):
        if i:
            console.print()
        print_report(report, console, full)


def worst(reports: Sequence[Report]) -> Severity:
    return max((r.severity for r in reports), default=Severity.INFO)
