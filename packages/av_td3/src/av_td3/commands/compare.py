"""``av-td3 compare``: methods against each other, each with one or more training runs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from av_td3.commands.outputs import check_output
from av_td3.commands.terminal import say
from av_td3.errors import BAD_INPUT, FAILED, UserError
from av_td3.evaluation import aggregate as statistics
from av_td3.evaluation import report
from av_td3.evaluation.aggregate import THRESHOLDS, Aggregate, Estimate, Resampling
from av_td3.evaluation.conditions import other_settings, traffic_in_words
from av_td3.evaluation.metrics import BY_NAME, METRICS, Metric, summary
from av_td3.evaluation.rollout import EpisodeRecord, Evaluation, EvaluationError
from av_td3.evaluation.statistics import ConfidenceInterval
from av_td3.training import shipped
from av_td3.training.run_directory import RunDirectory, write_atomically

SCORES = ("route_completion", "driving_score", "driving_score_2_1", "success_rate", "clean_success_rate")
"""Figures of one episode in [0, 1], more is better: what ``--metric`` takes."""
_SEED = re.compile(r"-s\d+(-\d{8}-\d{6}(-\d+)?)?$")
_COLUMNS = {
    "success_rate": "success\n%",
    "collisions_per_km": "colli-\nsion/km",
    "lateral_deviation_m": "off lane\ncentre m",
    "jerk": "jerk\nm/s³",
}
_CONDITIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "map": lambda c: str(c.get("map", "?")),
    "simulator": lambda c: str(c.get("simulator", "?")),
    "seed": lambda c: str(c.get("seed", "?")),
    "picture": lambda c: str(c.get("picture", "camera")),
    "weather": lambda c: str(c.get("weather", "fixed")),
    "traffic": traffic_in_words,
    "settings": lambda c: ", ".join(sorted(other_settings(c))) or "none",
}
"""What evaluations should have in common, and how that is told; not every file says everything."""


@dataclass(frozen=True)
class Entry:
    """One evaluation of one agent."""

    source: str
    """As it was given, for messages."""
    stem: str
    """Name of the run directory, or of the file without its ending."""
    agent: str
    """Its name in the file."""
    label: str
    named: bool
    """Whether the label was given."""
    evaluation: Evaluation
    conditions: dict[str, Any]
    settings: dict[str, Any] | None
    """``config.yaml`` of the run without the seed; None where only figures are known."""
    run: Path | None = None
    """The run directory; None where only figures are known."""
    baseline: bool = False
    """Taken from the input of a trained agent."""
    file: Path | None = None
    """Where the figures were read."""


@dataclass(frozen=True)
class Compared:
    """The methods, the routes that all of them drove, and the statistics."""

    methods: dict[str, list[Entry]]
    seeds: list[int]
    """Seeds of these routes."""
    metric: str
    statistics: Aggregate

    def pooled(self, label: str) -> Evaluation:
        """All episodes of a method on the common routes."""
        return Evaluation(
            label, self.seeds[0], tuple(e for m in self.methods[label] for e in self._common(m))
        )

    def _common(self, entry: Entry) -> list[EpisodeRecord]:
        wanted = set(self.seeds)
        return sorted((e for e in entry.evaluation.episodes if e.seed in wanted), key=lambda e: e.seed)

    def figures(self, label: str) -> dict[str, ConfidenceInterval]:
        """Every figure of a method.

        With several runs the intervals are from resampled runs and routes.  Where that finds no spread, and
        with one run, they are those of ``av-td3 evaluate``, over all episodes.
        """
        found = summary(self.pooled(label))
        runs = [self._common(entry) for entry in self.methods[label]]
        if len(runs) > 1:
            for metric in METRICS:
                interval = self._interval(metric, runs)
                if interval.low is not None:
                    found[metric.name] = interval
        return found

    def _interval(self, metric: Metric, runs: list[list[EpisodeRecord]]) -> ConfidenceInterval:
        per = metric.per or (lambda _: 1.0)
        of_event = metric.kind == "share of episodes"
        values = [[float(metric.value(e) > 0 if of_event else metric.value(e)) for e in run] for run in runs]
        return statistics.ratio_interval(
            values, [[float(per(e)) for e in run] for run in runs], resampling=self.statistics.resampling
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, ``schema`` 1."""
        return {
            "schema": 1,
            "metric": self.metric,
            "routes": len(self.seeds),
            "methods": {
                label: {
                    "evaluations": [{"source": e.source, "conditions": e.conditions} for e in entries],
                    "summary": {k: i.to_dict() for k, i in self.figures(label).items()},
                }
                for label, entries in self.methods.items()
            },
            "statistics": self.statistics.to_dict(),
        }


def compare(
    inputs: Sequence[str],
    *,
    metric: str = "route_completion",
    baselines: bool = False,
    resampling: Resampling = "crossed",
    json_file: Path | None = None,
    figure: Path | None = None,
    console: Console | None = None,
) -> Compared:
    """Print the table; write the figures and the performance profiles where they are asked for.

    Args:
        inputs: ``[NAME=]PATH[:AGENT]``; PATH is a run directory or the JSON file of an evaluation, AGENT
            one of the file's agents, by default ``trained``, or the only one.  Inputs of one name are runs of
            one method.
        metric: one of :data:`SCORES`.
        baselines: also the untrained, random and classical drivers of the inputs, as methods.

    Raises:
        UserError: an input is none, or the inputs were not made on the same routes.
    """
    if metric not in SCORES:
        raise UserError(f"--metric {metric}: there are {', '.join(SCORES)}", BAD_INPUT)
    for option, file in (("--json", json_file), ("--figure", figure)):
        check_output(option, file)
    if figure is not None and figure.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"--figure {figure}: give the name of a .png, .svg or .pdf file", BAD_INPUT)
    console = console or Console()
    compared = aggregated([entry for text in inputs for entry in read(text, baselines)], metric, resampling)
    for line in notes(compared):
        say(console, line)
    console.print(table(compared))
    for line in verdicts(compared):
        say(console, line)
    try:
        if json_file is not None:
            text = json.dumps(compared.to_dict(), indent=1, allow_nan=False)
            write_atomically(json_file, text + "\n")
        if figure is not None:
            draw(compared, figure)
    except OSError as error:
        raise UserError(f"cannot write: {error}", FAILED) from None
    return compared


def read(text: str, baselines: bool = False) -> list[Entry]:
    """The evaluations that an input names.

    Raises:
        UserError: there is none.
    """
    name, path, agent = _parts(text)
    file, settings = path, None
    if path.is_dir():
        run = RunDirectory.open(path)
        settings, file = _settings(run), run.evaluations / "final.json"
        if not file.is_file():
            raise UserError(
                f"{path} has no final evaluation: make one with av-td3 evaluate {path} --json FILE, and give "
                "that file",
                BAD_INPUT,
            )
    elif not path.exists():
        if str(path) in shipped.names():
            hint = f"evaluate that agent first: av-td3 evaluate {path} --json FILE, and give that file"
            raise UserError(hint, BAD_INPUT)
        raise UserError(f"there is no run directory and no file {path}", BAD_INPUT)
    try:
        document = json.loads(file.read_text())
        agents: Mapping[str, Any] = document["agents"]
        conditions = dict(document.get("conditions") or {})
        if not agent:  # the trained one, or the only one
            agent = next(iter(agents)) if len(agents) == 1 else "trained"
        if agent not in agents:
            raise UserError(f"{file} has no agent {agent!r}; it has {', '.join(agents)}", BAD_INPUT)
        stem = path.name if path.is_dir() else path.stem
        label = name or (_SEED.sub("", stem) if agent == "trained" else agent)
        run_directory = path if path.is_dir() and agent == "trained" else None
        evaluation = Evaluation.from_dict(agents[agent])
        found = [
            Entry(
                text,
                stem,
                agent,
                label,
                bool(name),
                evaluation,
                conditions,
                settings,
                run_directory,
                file=file.resolve(),
            )
        ]
        for other in agents if baselines else ():
            if other != agent:
                evaluation = Evaluation.from_dict(agents[other])
                found.append(
                    Entry(
                        f"{path}:{other}",
                        stem,
                        other,
                        other,
                        True,
                        evaluation,
                        conditions,
                        None,
                        baseline=True,
                    )
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EvaluationError) as error:
        raise UserError(f"{file} is not the JSON file of an evaluation: {error}", BAD_INPUT) from None
    return found


def _parts(text: str) -> tuple[str, Path, str]:
    """(name or "", path, agent or "") of ``[NAME=]PATH[:AGENT]``; a path that exists is taken as it is."""
    name, separator, rest = text.partition("=")
    if not separator or Path(text).exists():
        name, rest = "", text
    path, _, agent = rest.rpartition(":")
    if not path or Path(rest).exists():
        path, agent = rest, ""
    return name, Path(path), agent


def aggregated(entries: Sequence[Entry], metric: str, resampling: Resampling = "crossed") -> Compared:
    """Methods and their statistics on the routes that all entries have.

    Raises:
        UserError: no such routes, runs of one name have different settings, or a run is there twice.
    """
    methods: dict[str, list[Entry]] = {}
    for entry in entries:
        same = methods.setdefault(entry.label, [])
        # A classical driver that every run has driven anew is one run, not several.
        if not (entry.baseline and any(_same_drives(entry, other) for other in same)):
            same.append(entry)
    for label, same in methods.items():
        _check_one_method(label, same)
    drives = [{e.seed: e for e in entry.evaluation.episodes} for same in methods.values() for entry in same]
    seeds = sorted(set.intersection(*(set(d) for d in drives)))
    used = [entry for same in methods.values() for entry in same]
    if not seeds:
        raise UserError(
            "these evaluations have no route in common: evaluate all with the same --seed", BAD_INPUT
        )
    for seed in seeds:
        routes = {(d[seed].route, round(d[seed].route_length_m, 1)) for d in drives}
        if len(routes) > 1:
            maps = sorted({str(e.conditions.get("map")) for e in used})
            raise UserError(
                f"these evaluations were not made on the same routes (maps: {', '.join(maps)}): evaluate all "
                "with the same --map, and agents whose route settings are the same",
                BAD_INPUT,
            )
    value = BY_NAME[metric].value
    scores = {
        label: np.array(
            [[float(value(e)) for e in sorted(_on(entry, seeds), key=lambda e: e.seed)] for entry in same]
        )
        for label, same in methods.items()
    }
    return Compared(methods, seeds, metric, statistics.aggregate(scores, resampling=resampling))


def _on(entry: Entry, seeds: Sequence[int]) -> list[EpisodeRecord]:
    wanted = set(seeds)
    return [e for e in entry.evaluation.episodes if e.seed in wanted]


def _same_drives(a: Entry, b: Entry) -> bool:
    return a.evaluation.episodes == b.evaluation.episodes


def _one_run(a: Entry, b: Entry) -> bool:
    """Whether two entries are of the same agent, given twice or evaluated twice."""
    if a.agent != b.agent:
        return False
    if a.file is not None and a.file == b.file:
        return True
    # An untrained agent of a file has weights of its own; the hash is that of the trained one.
    known = a.conditions.get("agent_sha256") if a.agent == "trained" else None
    return known is not None and known == b.conditions.get("agent_sha256")


def _check_one_method(label: str, entries: Sequence[Entry]) -> None:
    """Runs that were put together by their names alone must differ in their seed alone.

    Of files that ``av-td3 evaluate`` wrote, for instance, each is called ``evaluation.json``.
    """
    for one, other in itertools.combinations(entries, 2):
        if _one_run(one, other):
            raise UserError(
                f"{one.source} and {other.source} are one run: they would count as two of {label}",
                BAD_INPUT,
            )
    unnamed = [e for e in entries if not e.named]
    for one, other in itertools.combinations(unnamed, 2):
        also = ""
        if one.settings is not None and other.settings is not None and one.settings != other.settings:
            also = " and other settings"
        elif one.stem != other.stem:
            continue  # the seed is part of it
        raise UserError(
            f"{one.source} and {other.source} have the same name{also}: give each method a name, such as "
            f"a={one.source} b={other.source}, and runs of one method the same",
            BAD_INPUT,
        )


def _settings(run: RunDirectory) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = yaml.safe_load((run.path / "config.yaml").read_text())
        tree["train"].pop("seed", None)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read {run.path / 'config.yaml'}: {error}", BAD_INPUT) from None
    return tree


def notes(compared: Compared) -> list[str]:
    """What is to be known before the figures are read."""
    entries = [e for same in compared.methods.values() for e in same]
    lines = []
    for key, in_words in _CONDITIONS.items():
        values = sorted({in_words(e.conditions) for e in entries})
        if len(values) > 1:
            lines.append(f"note: different {key}: {'; '.join(values)}")
    missing = len({drive.seed for e in entries for drive in e.evaluation.episodes}) - len(compared.seeds)
    if missing:
        lines.append(f"note: {missing} routes that not all have driven are left out")
    return lines


def table(compared: Compared) -> Table:
    """The methods, one a row; fits 80 columns."""
    percent = f"{100 * compared.statistics.confidence:.0f} % intervals below"
    shown = Table(
        title=f"{len(compared.seeds)} held-out routes; {percent}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    score = BY_NAME[compared.metric].title
    shown.add_column("\nmethod", overflow="fold", max_width=16)
    heads = ("\nruns", f"{_wrapped(score)}\nIQM %", "\nmean %", "worst..\nbest run")
    for head in (*heads, *_COLUMNS.values()):
        shown.add_column(head, justify="right", no_wrap=True)
    for label, method in compared.statistics.methods.items():
        figures = compared.figures(label)
        low, high = method.spread
        row: list[str | Text] = [str(len(method.scores)), _cell(method.iqm), _cell(method.mean)]
        row.append(f"{100 * low:.0f}..{100 * high:.0f}" if len(method.scores) > 1 else "-")
        row += [report.cell(name, figures[name]) for name in _COLUMNS]
        shown.add_row(Text(label), *row)
    return shown


def _wrapped(title: str) -> str:
    """The last word of a title, which must not take much room."""
    return {"route completion": "route", "driving score": "score", "driving score 2.1": "score 2.1"}.get(
        title, "success"
    )


def _cell(e: Estimate) -> str:
    text = f"{100 * e.estimate:.1f}"
    if e.low is not None and e.high is not None:
        text += f"\n[dim]{100 * e.low:.0f}..{100 * e.high:.0f}[/dim]"
    return text


def verdicts(compared: Compared) -> list[str]:
    """One sentence per other method, and what the intervals cover."""
    first, *_ = compared.methods
    lines = []
    for name, p in compared.statistics.improvement.items():
        ends = "" if p.low is None or p.high is None else f" [{100 * p.low:.0f}, {100 * p.high:.0f}]"
        lines.append(f"P({first} is better than {name} on a route) = {100 * p.estimate:.0f} %{ends}.")
    single = [label for label, same in compared.methods.items() if len(same) == 1]
    if single:
        whose = "all methods" if len(single) == len(compared.methods) else ", ".join(single)
        lines.append(f"One run of {whose}: the intervals cover the choice of routes, not that of the seed.")
    return lines


def draw(compared: Compared, file: Path) -> None:
    """The performance profiles: the share of drives with a score above each threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for label, method in compared.statistics.methods.items():
        profile = method.profile
        (line,) = axes.plot(100 * THRESHOLDS, 100 * profile.share, label=label, drawstyle="steps-post")
        axes.fill_between(
            100 * THRESHOLDS,
            100 * profile.low,
            100 * profile.high,
            step="post",
            alpha=0.15,
            color=line.get_color(),
        )
    title = BY_NAME[compared.metric].title
    axes.set(xlabel=f"{title}, %", ylabel="drives with more, %", xlim=(0, 100), ylim=(0, 102))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
