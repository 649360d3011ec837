"""One vocabulary: what is logged stands in the table of signals, and what is judged is logged."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import av_td3
import rundoctor
from av_td3.config import config_from_dict
from av_td3.driving import termination
from av_td3.evaluation import metrics as evaluation_metrics
from av_td3.evaluation.rollout import EpisodeRecord, Evaluation
from av_td3.health.alerts import EVENTS, RULES
from av_td3.training.gates import load_gates
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer
from rundoctor.code import code_state, installed
from rundoctor.signals import OWN, SIGNALS, alerts, episodes, evaluation, signal_of
from rundoctor.signals.conditions import CONDITIONS
from tools import metrics_page

from ..training.fake import FakeEnv, SilentDisplay, small_config

SOURCES = [Path(package.__file__).parent for package in (av_td3, rundoctor)]
TAG = re.compile(r"(train|demonstrations|debug|gradients|agent|progress|rewards|eval|alerts|system)/\w+")
DOCS = Path(metrics_page.__file__).parents[1] / "docs"


def record(seed: int) -> EpisodeRecord:
    return EpisodeRecord(
        seed=seed,
        route="r",
        route_length_m=100.0,
        route_completion=0.5,
        success=seed % 2 == 0,
        episode_return=1.0 + seed,
        steps=10,
        distance_km=0.05,
        collisions=0,
        lane_invasions=1,
        off_road_steps=0,
        mean_speed_kmh=18.0,
        mean_abs_jerk=0.1,
        mean_abs_lateral_deviation_m=0.2,
        min_time_to_collision_s=None,
        low_ttc_steps=0,
        mean_abs_steer_change=0.1,
        termination="time_limit",
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every tag of a short training with evaluations."""
    torch.set_num_threads(1)
    tree = small_config(steps=360).model_dump()
    tree["agent"]["encoder"] = "separate"
    tree["exploration"]["warmup_driver"] = "classical"
    config = config_from_dict(tree)
    folder = tmp_path_factory.mktemp("signals") / "run"
    run = RunDirectory.create(folder, config, {"code_sha256": code_state(installed()).sources})
    evaluated = Evaluation("agent", 1, tuple(map(record, range(4))))

    def evaluate(agent: object, step: int) -> dict[str, float]:
        return evaluation_metrics.scalars(evaluated)

    outcome = Trainer(config, run, lambda: FakeEnv(config), evaluate, SilentDisplay()).train()
    assert outcome.state == "finished"
    accumulator = EventAccumulator(str(folder / "tb"))
    accumulator.Reload()
    return set(accumulator.Tags()["scalars"])


def not_in_the_table(logged: set[str]) -> set[str]:
    return {tag for tag in logged if signal_of(tag) is None}


def not_logged(logged: set[str]) -> set[str]:
    """Tags of the table that a run did not log; of a tag with a placeholder, one choice is enough."""
    plain = {tag for s in OWN for tag in (s.tag, *s.also) if "<" not in s.tag}
    patterned = {s.tag for s in OWN if s.choices and not any(signal_of(tag) is s for tag in logged)}
    return (plain - logged) | patterned


def judged_and_not_logged(logged: set[str]) -> set[str]:
    judged = {signal for condition in CONDITIONS for signal in condition.signals if signal.tag}
    return {s.name for s in judged if not any(signal_of(tag) is s for tag in logged)}


@pytest.mark.slow
def test_every_tag_that_is_logged_is_in_the_table(logged: set[str]) -> None:
    assert not_in_the_table(logged) == set()


@pytest.mark.slow
def test_every_tag_of_the_table_is_logged(logged: set[str]) -> None:
    assert not_logged(logged) == set()


@pytest.mark.parametrize("tag", ["train/q1_value", "agent/saturation", "debug/td_error_relative"])
def test_a_renamed_or_misspelt_tag_is_found(logged: set[str], tag: str) -> None:
    misspelt = (logged - {tag}) | {tag[:-1]}
    assert not_in_the_table(misspelt) == {tag[:-1]}
    assert tag in not_logged(misspelt)
    assert judged_and_not_logged(misspelt)


def test_what_is_judged_is_logged(logged: set[str]) -> None:
    assert judged_and_not_logged(logged) == set()
    for criterion in load_gates().criteria:
        condition = next((c for c in CONDITIONS if c.id == criterion.judges), None)
        signal = signal_of(criterion.tag)
        assert condition is None or signal in condition.signals, criterion.name


def test_what_a_placeholder_stands_for() -> None:
    ends = (termination.SUCCESS, termination.TIME_LIMIT, termination.SIMULATOR_FAULT, *termination.FAILURES)
    assert set(episodes.CAUSES) == set(ends)
    figures = {*evaluation.FIGURES, *evaluation.HEADLINES, "episode_length"}
    assert figures == {metric.name for metric in evaluation_metrics.METRICS}
    assert evaluation.HEADLINES == evaluation_metrics.PAIRED == tuple(evaluation.HEADLINE)
    assert set(alerts.NAMES) == {*RULES, *EVENTS}


def test_names_and_tags_are_unique() -> None:
    assert len({s.name for s in SIGNALS}) == len(SIGNALS)
    tags = [tag for s in OWN for tag in (s.tag, *s.also)]
    assert len(set(tags)) == len(tags)
    assert all(s.meaning and s.meaning[-1] != "." for s in SIGNALS)


def texts(file: Path) -> list[str]:
    """Every string of a Python file except docstrings; what an f-string fills in becomes <x>."""
    tree = ast.parse(file.read_text())
    inside: set[ast.AST] = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(node.value)
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "<x>" for p in node.values]
            found.append("".join(map(str, parts)))
            inside.update(node.values)
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in inside)
    return found + [n.value for n in constants if isinstance(n.value, str)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name)
def test_no_tag_is_written_out_beside_the_table(source: Path) -> None:
    """A literal tag can be misspelt, and a renamed one stays behind."""
    found = {
        f"{file.relative_to(source)}: {text}"
        for file in source.rglob("*.py")
        # readers know the names of other systems' files
        if file.parent.name not in ("signals", "readers")
        for text in texts(file)
        if TAG.fullmatch(text.replace("<x>", "x"))
    }
    assert found == set()


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name)
def test_no_tag_is_written_out_in_what_is_said(source: Path) -> None:
    """Advice that names a tag takes it from the table, too."""
    known = {tag for s in OWN for tag in (s.tag, *s.also)}
    found = {
        f"{file.relative_to(source)}: {tag.group()}"
        for file in source.rglob("*.py")
        if file.parent.name not in ("signals", "readers")
        for text in texts(file)
        for tag in TAG.finditer(re.sub(r"<\w+>", "x", text))
        if tag.group() in known or signal_of(tag.group()) is not None
    }
    assert found == set()


def test_every_tag_in_the_documentation_exists() -> None:
    known = {tag for s in SIGNALS for tag in s.tags}
    unknown = set()
    for page in DOCS.glob("*.md"):
        text = page.read_text().split("## Names in other systems")[0]
        for tag in re.findall(r"`([^`\s]+)`", text):
            if TAG.fullmatch(tag) and tag not in known and signal_of(tag) is None:
                unknown.add(f"{page.name}: {tag}")
    assert unknown == set()


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    pages = [page.read_text() for page in metrics_page.PAGES]
    assert [metrics_page.updated(page) for page in pages] == pages, "run python -m tools.metrics_page"
    assert all(sum(f"<!-- /{name} -->" in page for page in pages) == 1 for name in metrics_page.TABLES)
