"""The report as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..compare import RunComparison
from ..model import Finding, Report, number
from .terminal import WORD, summary, unknown_lines


def markdown(
    reports: Sequence[Report],
    comparison: RunComparison | None,
    figures: Mapping[str, Sequence[Path]],
    folder: Path,
) -> str:
    """The whole report; ``figures`` are linked relative to ``folder``."""
    out: list[str] = []
    if len(reports) > 1:
        out += ["# Diagnosis of " + ", ".join(_text(r.run.name) for r in reports), ""]
        if comparison is not None:
            out += _comparison(comparison)
    for report in reports:
        out += _report(report, figures.get(report.run.name, ()), folder, 1 if len(reports) == 1 else 2)
    return "\n".join(out).rstrip() + "\n"


def _text(text: str) -> str:
    """Markdown's own signs in what comes from files must not act."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text.replace("\n", " "))


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"


def _report(report: Report, figures: Sequence[Path], folder: Path, level: int) -> list[str]:
    h = "#" * level
    out = [
        f"{h} {report.word}: {_text(report.run.name)}",
        "",
        f"**{_text(report.verdict.sentence)}**",
        "",
        f"**What to do.** {_text(report.verdict.action)}",
        "",
        _text(summary(report)),
        "",
    ]
    out += [f"- Note: {_text(n)}" for n in report.run.notes]
    out += [f"- {_text(line.strip())}" for line in unknown_lines(report)]
    if out[-1]:
        out.append("")
    by_key = {p.stem.rsplit(f"{_stem(report)}-", 1)[-1]: p for p in figures}
    if "overview" in by_key:
        out += [f"![overview]({_link(by_key['overview'], folder)})", ""]
    out += [f"{h}# Findings", ""]
    if not report.findings:
        out += ["None.", ""]
    for f in report.findings:
        out += _finding(f, h + "##")
        if f.id in by_key:
            out += [f"![{f.id}]({_link(by_key[f.id], folder)})", ""]
    out += [f"{h}# Check-list", "", "| | check | figures |", "| --- | --- | --- |"]
    word = {True: "pass", False: "**fail**", None: "?"}
    out += [f"| {word[c.passed]} | {_text(c.name)} | {_text(c.figures)} |" for c in report.checklist]
    out += ["", f"{h}# Hyper-parameters beside the references", ""]
    out += [
        "| | run | TD3 paper | Stable-Baselines3 | known from | |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    for r in report.references:
        value = "-" if r.value is None else f"{r.value:g}"
        out.append(f"| {r.name} | {value} | {r.paper} | {r.sb3} | {_text(r.source)} | {_text(r.note)} |")
    out.append("")
    if report.missing:
        out += [f"{h}# Could not be judged", ""]
        out += [f"- **{_text(m.title)}**: {_text(m.reason)}. {_text(m.how)}".rstrip() for m in report.missing]
        out.append("")
    out += [f"{h}# Ruled out", ""]
    out += [f"- **{_text(r.title)}**: {_text(r.reason)}" for r in report.ruled_out]
    out.append("")
    return out


def _stem(report: Report) -> str:
    from .export import safe_name

    return safe_name(report.run.name)


def _link(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder).replace(" ", "%20").replace("(", "%28").replace(")", "%29")


def _finding(f: Finding, heading: str) -> list[str]:
    out = [
        f"{heading} {WORD[f.severity]}: {_text(f.title)} ({_code(f.id)})",
        "",
    ]
    for e in f.evidence:
        at = f", step {e.step:,}" if e.step is not None else ""
        value = f" = {number(e.value)}" if e.value is not None else ""
        out.append(f"- {_text(e.text)} ({_code(e.tag)}{at}{value})")
    for s in f.symptoms:
        detail = f": {_text(s.evidence[0].text)}" if s.evidence else ""
        out.append(f"- This also explains **{_text(s.title)}** ({_code(s.id)}){detail}")
    out += [
        "",
        f"*Why.* {_text(f.cause)}",
        "",
        f"*Fix.* {_text(f.fix)}",
        "",
        f"Confidence {f.confidence:.0%}.",
        "",
    ]
    return out


def _comparison(comparison: RunComparison) -> list[str]:
    out = ["## The runs beside each other", ""]
    out.append("| | " + " | ".join(_text(n) for n in comparison.names) + " |")
    out.append("| --- |" + " ---: |" * len(comparison.names))
    for row in comparison.rows:
        cells = ["-" if c is None else c if isinstance(c, str) else number(c) for c in row.cells]
        out.append(f"| {_text(row.name)} | " + " | ".join(cells) + " |")
    out.append("")
    out += [f"- {_text(s)}" for s in comparison.sentences]
    out.append("")
    return out
