"""One HTML file with interactive plots that needs nothing from the network."""

from __future__ import annotations

import html as escaping
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..compare import RunComparison
from ..model import INFO, Finding, Report, lower_first, number
from ..signals import critic, episodes
from ..stats import Floats
from .plots import Curve, Plot, curve, first_onset, overview, plots_of, tidy
from .terminal import WORD, summary, unknown_lines

EXPLORER_POINTS = 600
_HERE = Path(__file__).parent


def html(reports: Sequence[Report], comparison: RunComparison | None) -> str:
    """The whole report as one document: scripts, styles and data inside."""
    page = _Page()
    body = []
    if comparison is not None:
        body.append(_comparison(comparison, page, reports))
    for i, report in enumerate(reports):
        body.append(_report(report, i, page, only=len(reports) == 1))
    title = ", ".join(r.run.name for r in reports[:3]) + (", ..." if len(reports) > 3 else "")
    template = (_HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "@TITLE@": _e(f"{max(reports, key=lambda r: r.severity).word}: {title}"),
        "@BODY@": "\n".join(body),
        "@DATA@": _script_json(page.data),
        "@PLOTLY@": plotly_source(),
    }
    # one pass, so that nothing that came from a file is taken for a mark
    out = []
    rest = template
    for mark in ("@TITLE@", "@BODY@", "@DATA@", "@PLOTLY@"):
        before, _, rest = rest.partition(mark)
        out += [before, parts[mark]]
    return "".join([*out, rest])


def plotly_source() -> str:
    """plotly.js as the plotly package carries it; importing plotly itself is not needed."""
    file = resources.files("plotly") / "package_data" / "plotly.min.js"
    text = file.read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")


def _e(text: str) -> str:
    return escaping.escape(text, quote=True)


def _script_json(data: object) -> str:
    # inside a script element only "</" and "<!--" could end or hide it
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


class _Page:
    """Plots of the page: containers in the text, data in one script."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {"plots": {}, "series": []}

    def add(self, plot: Plot) -> str:
        key = f"plot{len(self.data['plots'])}"
        self.data["plots"][key] = {
            "title": plot.title,
            "x": plot.xlabel,
            "log": plot.log,
            "onset": plot.onset,
            "limits": [[n, tidy(v)] for n, v in plot.limits],
            "curves": [_curve(c) for c in plot.curves],
        }
        return f'<div class="plot" id="{key}"></div>'


def _numbers(values: Floats) -> list[float | None]:
    return [None if not np.isfinite(v) else float(f"{v:.6g}") for v in values]


def _curve(c: Curve) -> dict[str, Any]:
    out: dict[str, Any] = {"name": c.name, "x": [int(v) for v in np.round(c.x)], "y": _numbers(c.y)}
    if c.low is not None and c.high is not None:
        out["low"], out["high"] = _numbers(c.low), _numbers(c.high)
    return out


def _report(report: Report, index: int, page: _Page, only: bool) -> str:
    run = report.run
    level = str(report.severity) if report.severity > INFO or report.undecided or run.blind else "healthy"
    lead = report.findings[0] if report.findings and report.severity > INFO else None
    out = [f'<section class="run" id="run{index}">', f'<header class="verdict {level}">']
    out.append(f'<h1><span class="badge">{report.word}</span> {_e(run.name)}</h1>')
    out.append(f'<p class="answer">{_e(lead.sentence if lead else report.verdict.sentence)}</p>')
    if lead is not None:
        if lead.symptoms:
            items = "; ".join(_e(lower_first(s.title)) for s in lead.symptoms)
            out.append(f"<p>This also explains: {items}.</p>")
        beside = [lower_first(f.title) for f in report.findings[1:] if f.severity == 2]
        if beside:
            out.append(f"<p>Beside it: {_e('; '.join(beside))}.</p>")
    out.append(f'<p class="do"><b>What to do.</b> {_e(report.verdict.action)}</p></header>')
    out.append(f'<p class="facts">{_e(summary(report))}</p>')
    notes = [*run.notes, *(line.strip() for line in unknown_lines(report))]
    if notes:
        out.append('<ul class="notes">' + "".join(f"<li>{_e(n)}</li>" for n in notes) + "</ul>")
    serious = [f for f in report.findings if f.severity > INFO]
    for f in serious:
        out.append(_finding(f, report, page))
    infos = [f for f in report.findings if f.severity == INFO]
    if infos:
        out.append("<h2>Notes</h2>")
        out += [_finding(f, report, page) for f in infos]
    out.append(_overview(report, page))
    out.append(_checklist(report))
    out.append(_references(report))
    out.append(_missing(report))
    out.append(_explorer(report, index, page))
    out.append("</section>")
    return "\n".join(out)


def _finding(f: Finding, report: Report, page: _Page) -> str:
    word = WORD[f.severity]
    rows = []
    for e in f.evidence:
        step = f"{e.step:,}" if e.step is not None else ""
        value = number(e.value) if e.value is not None else ""
        rows.append(
            f"<tr><td>{_e(e.text)}</td><td><code>{_e(e.tag)}</code></td>"
            f'<td class=n data-name="step">{step}</td><td class=n data-name="value">{_e(value)}</td></tr>'
        )
    symptoms = "".join(
        f"<li><b>{_e(s.title)}</b> <code>{_e(s.id)}</code>"
        + (f": {_e(s.evidence[0].text)}" if s.evidence else "")
        + "</li>"
        for s in f.symptoms
    )
    plots = "".join(page.add(p) for p in plots_of(f, report.run)[:4])
    evidence = (
        '<table class="evidence"><thead><tr><th>evidence</th><th>tag</th><th class=n>step</th>'
        "<th class=n>value</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    return (
        f'<article class="finding {f.severity}"><h3><span class="badge">{word}</span> {_e(f.title)} '
        f'<code class="id">{_e(f.id)}</code></h3>'
        + evidence
        + (f'<p class="so">This also explains:</p><ul>{symptoms}</ul>' if symptoms else "")
        + (f'<div class="plots">{plots}</div>' if plots else "")
        + f"<p><b>Why.</b> {_e(f.cause)}</p><p><b>Fix.</b> {_e(f.fix)}</p>"
        + f'<p class="confidence">Confidence {f.confidence:.0%}</p></article>'
    )


def _overview(report: Report, page: _Page) -> str:
    plots = overview(report.run)
    if not plots:
        return ""
    for p in plots:
        p.onset = first_onset(report)
    return f'<h2>Overview</h2><div class="plots three">{"".join(page.add(p) for p in plots)}</div>'


def _checklist(report: Report) -> str:
    word = {True: ("pass", "pass"), False: ("fail", "FAIL"), None: ("open", "?")}
    rows = "".join(
        f'<tr class="{word[c.passed][0]}"><td>{word[c.passed][1]}</td><td>{_e(c.name)}</td>'
        f"<td>{_e(c.figures)}</td></tr>"
        for c in report.checklist
    )
    return f'<h2>Check-list</h2><table class="checks"><tbody>{rows}</tbody></table>'


def _references(report: Report) -> str:
    rows = []
    for r in report.references:
        value = "" if r.value is None else f"{r.value:g}"
        rows.append(
            f'<tr class="off{r.off}"><td>{_e(r.name)}</td><td class=n>{value}</td><td>{_e(r.paper)}</td>'
            f"<td>{_e(r.sb3)}</td><td>{_e(r.source)}</td><td>{_e(r.note)}</td></tr>"
        )
    return (
        '<h2>Hyper-parameters beside the references</h2><div class="scroll"><table><thead><tr><th></th>'
        "<th>this run</th><th>TD3 paper</th><th>Stable-Baselines3</th><th>known from</th><th></th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _missing(report: Report) -> str:
    out = []
    if report.missing:
        items = "".join(f"<li><b>{_e(m.title)}</b>: {_e(m.reason)}. {_e(m.how)}</li>" for m in report.missing)
        out.append(f"<h2>Could not be judged</h2><ul>{items}</ul>")
    if report.ruled_out:
        items = "".join(f"<li><b>{_e(r.title)}</b>: {_e(r.reason)}</li>" for r in report.ruled_out)
        out.append(
            f"<details><summary>Ruled out ({len(report.ruled_out)})</summary><ul>{items}</ul></details>"
        )
    return "".join(out)


def _explorer(report: Report, index: int, page: _Page) -> str:
    series = {}
    for tag in sorted(report.run.series):
        s = report.run.series[tag]
        if len(s):
            entry = _curve(curve(s, points=EXPLORER_POINTS))
            entry["axis"] = (
                "episode" if s.axis == "episode" else "environment step" if s.axis == "step" else "step"
            )
            series[tag] = entry
    page.data["series"].append(series)
    options = "".join(f"<option>{_e(tag)}</option>" for tag in series)
    return (
        f"<h2>Every series</h2><p><label>Tag <select data-run={index}>{options}</select></label> "
        f'<label><input type="checkbox" data-log={index}> logarithmic</label></p>'
        f'<div class="plot wide" id="explorer{index}"></div>'
    )


def _comparison(comparison: RunComparison, page: _Page, reports: Sequence[Report]) -> str:
    head = "".join(
        f'<th class="n"><a href="#run{i}">{_e(n)}</a></th>' for i, n in enumerate(comparison.names)
    )
    rows = []
    for row in comparison.rows:
        cells = []
        for c in row.cells:
            kind = f" {c}" if isinstance(c, str) and c in ("critical", "warning", "healthy") else ""
            text = "-" if c is None else c if isinstance(c, str) else number(c)
            cells.append(f'<td class="n{kind}">{_e(text)}</td>')
        rows.append(f"<tr><th>{_e(row.name)}</th>{''.join(cells)}</tr>")
    sentences = "".join(f"<li>{_e(s)}</li>" for s in comparison.sentences)
    plots = []
    for title, signal in (("Q(policy)", None), ("Q(data)", critic.Q1.mean), ("return", episodes.RETURN)):
        curves = []
        for r in reports[:8]:
            s = r.run.policy_q if signal is None else r.run.get(signal)
            if s is None:
                continue
            moved = s.only(np.ones(len(s), bool))
            moved.step = r.run.env_steps(s)
            if np.isfinite(moved.step).all():
                curves.append(curve(moved, r.run.name))
        if len(curves) > 1:
            from .plots import wants_log

            plots.append(page.add(Plot(title, curves, "environment step", wants_log(curves))))
    return (
        f"<section><h1>The runs beside each other</h1><ul>{sentences}</ul>"
        f'<div class="scroll"><table class="compare"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<div class="plots three">{"".join(plots)}</div></section>'
    )
