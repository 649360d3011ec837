"""The answer on the terminal: verdict first, then what supports it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule as Divider
from rich.table import Table
from rich.text import Text

from ..compare import RunComparison
from ..model import (
    CANNOT_JUDGE,
    CRITICAL,
    INFO,
    WARNING,
    Finding,
    Report,
    first_sentence,
    lower_first,
    number,
    shortened,
)
from ..run import LEAST_POINTS

STYLE = {INFO: "cyan", WARNING: "yellow", CRITICAL: "red"}
WORD = {INFO: "INFO", WARNING: "WARNING", CRITICAL: "CRITICAL"}
MOST_COLUMNS = 5
MOST_OPEN = 3
"""Lines of the check-list that were not judged and still get a line each."""
MARK = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: ("  ? ", "magenta")}


def print_report(report: Report, console: Console, full: bool = False, brief: bool = False) -> None:
    """Print one run's diagnosis.

    Args:
        full: with every cause and fix, all evidence and everything that was ruled out.
        brief: only the answer, one of many; ``full`` outweighs it.
    """
    console.print(_panel(report, full))
    console.print(Text(summary(report), style="dim"))
    for note in report.run.notes:
        console.print(Text(f"note: {note}", style="dim"))
    if report.run.unseen:
        _print_unknown(report, console, full)
    if brief and not full:
        return
    for finding in report.findings:
        if finding.severity > INFO or full:
            console.print(_finding(finding, full))
    _print_infos([f for f in report.findings if f.severity == INFO and not full], console)
    _print_checks(report, console)
    _print_missing(report, console, full)
    if full:
        _print_references(report, console)
        console.print(Divider("ruled out", style="dim", align="left"))
        for r in report.ruled_out:
            console.print(Text.assemble((f"{r.title}: ", "bold"), r.reason))


def _print_unknown(report: Report, console: Console, full: bool) -> None:
    """What is not recognised, and the tags that it may hide behind."""
    for line in unknown_lines(report, None if full or report.cannot_judge else 4):
        console.print(Text(line, style="magenta"))


def unknown_lines(report: Report, most: int | None = None) -> list[str]:
    """What the run does not show, and its unknown tags with a guess for each that has one.

    Args:
        most: how many tags are listed, those with a guess first; None: all.
    """
    run = report.run
    if not run.unseen or run.too_short:
        return []
    seen = {part: [s for name in run.core[part] if (s := run.get(name)) is not None] for part in run.unseen}
    short = [part for part, series in seen.items() if any(len(s) < LEAST_POINTS for s in series)]
    unknown = [
        part + "".join(f" ({s.tag} may be any network's)" for s in seen[part])
        for part in run.unseen
        if part not in short
    ]
    out = [f"fewer than {LEAST_POINTS} points: {', '.join(short)}"] if short else []
    if not unknown:
        return out
    out.append(f"not recognised: {', '.join(unknown)}")
    wanted = {signal.name for part in run.unseen for signal in run.core[part]}
    tags = sorted(run.unmapped, key=lambda t: t not in run.guesses)
    for tag in tags[:most]:
        names = run.guesses.get(tag, [])
        guess = f" (perhaps {next((n for n in names if n in wanted), names[0])})" if names else ""
        out.append(f"  unknown tag: {shortened(tag)}{guess}")
    if most is not None and len(tags) > most:
        out.append(f"  and {len(tags) - most} more unknown tags; --full lists them")
    return out


def print_verdict(report: Report, console: Console) -> None:
    """One line: the run, how bad, what."""
    worst = report.severity
    console.print(
        Text.assemble(
            (f"{report.word:<12} ", f"bold {_style(report)}"),
            (report.run.name, "bold"),
            f"  {report.findings[0].title if worst else report.verdict.sentence}",
        )
    )


def _style(report: Report) -> str:
    if report.severity:
        return STYLE[report.severity]
    return "magenta" if report.cannot_judge else "cyan" if report.undecided else "green"


def _panel(report: Report, full: bool) -> Panel:
    worst = report.severity
    style = _style(report)
    lead = report.findings[0] if report.findings else None
    parts: list[RenderableType] = []
    if lead is not None and worst:
        parts.append(Text(lead.sentence))
        explained = [lower_first(s.title) for s in lead.symptoms if s.severity > INFO]
        if explained:
            parts.append(Text("This also explains: " + "; ".join(explained) + ".", style="dim"))
        beside = [lower_first(f.title) for f in report.findings[1:] if f.severity == CRITICAL]
        if beside:
            parts.append(Text("Beside it: " + "; ".join(beside) + "."))
    else:
        parts.append(Text(report.verdict.sentence))
    action = report.verdict.action if full else first_sentence(report.verdict.action)
    parts.append(Text.assemble(("Do: ", f"bold {style}"), action))
    title = Text.assemble((f" {report.word} ", f"bold reverse {style}"), f" {report.run.name} ")
    return Panel(Group(*parts), title=title, title_align="left", border_style=style, padding=(0, 1))


def summary(report: Report) -> str:
    """Size, speed, date and origin of a run in one line."""
    run = report.run
    parts = [run.extent]
    if run.episodes and run.axis != "episode":
        parts.append(f"{run.episodes:,} episodes")
    if math.isfinite(run.seconds) and run.seconds > 0:
        parts.append(_duration(run.seconds))
    if math.isfinite(run.steps_per_second):
        parts.append(f"{number(run.steps_per_second)} steps/s")
    first, _ = run.wall_span
    if math.isfinite(first) and first > 1e8:
        parts.append(datetime.fromtimestamp(first, timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))
    if run.algorithm.reason:
        parts.append(run.algorithm.name)
    parts.append(f"tags: {run.system}")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _finding(finding: Finding, full: bool) -> RenderableType:
    style = STYLE[finding.severity]
    word = WORD[finding.severity]
    body: list[RenderableType] = [Text(e.text) for e in finding.evidence[: None if full else 2]]
    if finding.symptoms and not full:
        named = [lower_first(s.title) + _since(s) for s in finding.symptoms]
        body.append(Text.assemble(("causes: ", f"bold {style}"), "; ".join(named)))
    for s in finding.symptoms if full else ():
        detail = f": {s.evidence[0].text}" if s.evidence else ""
        body.append(Text.assemble(("causes: ", f"bold {style}"), s.title, detail, (f"  {s.id}", "dim")))
    if full:
        body.append(Text.assemble(("why: ", f"bold {style}"), finding.cause))
    fix = finding.fix if full else first_sentence(finding.fix)
    body.append(Text.assemble(("fix: ", f"bold {style}"), fix))
    hidden = 0 if full else max(0, len(finding.evidence) - 2)
    more = f" · {hidden} more figure{'s' if hidden > 1 else ''}" if hidden else ""
    body.append(Text(f"{finding.id} · confidence {finding.confidence:.0%}{more}", style="dim"))
    head = Text.assemble((f"{word:<9}", f"bold {style}"), (finding.title, "bold"))
    return Group(Text(), head, Padding(Group(*body), (0, 0, 0, 9)))


def _since(finding: Finding) -> str:
    return f" (from step {finding.onset:,})" if finding.onset is not None else ""


def _print_infos(findings: Sequence[Finding], console: Console) -> None:
    if not findings:
        return
    console.print()
    console.print(Divider("notes", style="dim", align="left"))
    for f in findings:
        text = f.evidence[0].text if f.evidence else ""
        console.print(
            Padding(
                Text.assemble((f.title, "cyan"), f": {text}", (f"  {f.id}", "dim")),
                (0, 0, 0, 2),
                expand=False,
            ),
        )


def _print_checks(report: Report, console: Console) -> None:
    if not report.checklist:
        return
    passed = sum(c.passed is True for c in report.checklist)
    console.print()
    console.print(
        Divider(f"check-list: {passed} of {len(report.checklist)} passed", style="dim", align="left")
    )
    judged = [c for c in report.checklist if c.passed is not None]
    open_ = [c for c in report.checklist if c.passed is None]
    if len(open_) <= MOST_OPEN:
        judged, open_ = report.checklist, []
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for c in judged:
        word, style = MARK[c.passed]
        table.add_row(Text(word, style=style), c.name, Text(c.figures, style="dim"))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if open_:
        word, style = MARK[None]
        names = "; ".join(c.name for c in open_)
        text = Text.assemble((word, style), f"  {len(open_)} not judged: ", (names, "dim"))
        console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _print_missing(report: Report, console: Console, full: bool) -> None:
    if not report.missing:
        return
    console.print()
    console.print(Divider("could not be judged", style="dim", align="left"))
    shown = report.missing if full else report.missing[:5]
    for m in shown:
        how = f" {m.how}" if full and m.how else ""
        console.print(
            Padding(Text.assemble((m.title, "magenta"), f": {m.reason}.", (how, "dim")), (0, 0, 0, 2))
        )
    if len(shown) < len(report.missing):
        rest = len(report.missing) - len(shown)
        console.print(Text(f"  and {rest} more; --full lists them and says how to get them", style="dim"))


def _print_references(report: Report, console: Console) -> None:
    console.print()
    console.print(Divider("hyper-parameters beside the references", style="dim", align="left"))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "run", "TD3 paper", "SB3", "known from"):
        table.add_column(name, overflow="fold")
    for r in report.references:
        style = ("", "yellow", "red")[r.off]
        value = "-" if r.value is None else f"{r.value:g}"
        table.add_row(r.name, Text(value, style=style), r.paper, r.sb3, Text(r.source, style="dim"))
    console.print(table)


def print_comparison(comparison: RunComparison, console: Console) -> None:
    """The runs beside each other."""
    console.print()
    console.print(Divider("the runs beside each other", style="bold", align="left"))
    if len(comparison.names) > MOST_COLUMNS:
        _print_many(comparison, console)
        return
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("")
    for name in comparison.names:
        table.add_column(name, justify="right", overflow="fold")
    for row in comparison.rows:
        table.add_row(row.name, *(_cell(v) for v in row.cells))
    console.print(table)
    for sentence in comparison.sentences:
        console.print(Padding(Text(sentence), (0, 0, 0, 1)))


def _print_many(comparison: RunComparison, console: Console) -> None:
    """More runs than fit beside each other: one line a run, the figures that matter most."""
    rows = {r.name: r.cells for r in comparison.rows}
    shown = [n for n in ("steps", "return, last quarter", "evaluation, last", "verdict") if n in rows]
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("")
    for name in shown:
        table.add_column(name, justify="right")
    for i, run in enumerate(comparison.names):
        table.add_row(run, *(_cell(rows[n][i]) for n in shown))
    console.print(table)
    for sentence in comparison.sentences:
        console.print(Padding(Text(sentence), (0, 0, 0, 1)))


def _cell(value: float | str | None) -> Text:
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, str):
        style = {
            "critical": "red",
            "warning": "yellow",
            "info": "cyan",
            "nothing found": "cyan",
            "cannot judge": "magenta",
            "healthy": "green",
        }.get(value, "")
        return Text(value, style=style)
    return Text(number(value))


def exit_status(reports: Sequence[Report]) -> int:
    """Of the worst run: critical (2), warning (1), not to be judged (4), nothing wrong (0)."""
    return max((r.exit_status for r in reports), key=(0, CANNOT_JUDGE, 1, 2).index, default=0)
