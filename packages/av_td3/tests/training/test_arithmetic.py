"""Choices that are measured when a run starts."""

from __future__ import annotations

import pytest

from av_td3 import api
from av_td3.commands import common, train, validate
from av_td3.config import Config, ConfigError, load_config
from av_td3.errors import UserError
from av_td3.training import arithmetic
from av_td3.training.run_directory import RunDirectory

SMALL = [
    "agent.encoder=asymmetric",
    "agent.encoder_net=small",
    "agent.feature_size=8",
    "agent.hidden=[16]",
    "agent.batch_size=4",
    "train.device=cpu",
    "env.camera.size=36",
]


def config(*changes: str) -> Config:
    return load_config(None, None, [*SMALL, *changes])


def told(
    monkeypatch, hardware: bool, comparison: tuple[float, float], *changes: str
) -> tuple[Config, list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda: hardware)
    monkeypatch.setattr(arithmetic, "compare_precisions", lambda _: arithmetic.PrecisionFigures(*comparison))
    return arithmetic.measured(config(*changes), lines.append), lines


@pytest.mark.parametrize(
    ("hardware", "comparison", "expected"),
    [
        (True, (1.8, 0.999), "bfloat16"),
        (True, (1.05, 0.999), "float32"),  # hardly faster
        (True, (1.8, 0.9), "float32"),  # faster, and wrong
        (False, (1.8, 0.999), "float32"),
    ],
)
def test_bfloat16_is_taken_where_it_is_in_hardware_faster_and_right(
    monkeypatch, hardware, comparison, expected
):
    chosen, lines = told(monkeypatch, hardware, comparison, "agent.precision=auto")
    assert chosen.agent.precision == expected
    assert lines[0].startswith(f"precision: {expected}: ")


def test_bfloat16_that_is_emulated_is_allowed_with_a_warning_that_says_the_factor(monkeypatch):
    chosen, lines = told(monkeypatch, False, (0.25, 1.0), "agent.precision=bfloat16")
    assert chosen.agent.precision == "bfloat16"
    assert "warning" in lines[0] and "4.0 times" in lines[0]
    assert told(monkeypatch, True, (0.25, 1.0), "agent.precision=bfloat16")[1] == []


def test_what_is_not_auto_is_left_alone(monkeypatch):
    given = config()
    assert arithmetic.measured(given, lambda _: pytest.fail("nothing to tell")) == given


def test_gradients_in_both_arithmetics_agree_and_a_wrong_kernel_is_seen(monkeypatch):
    monkeypatch.setattr(arithmetic, "SECONDS", 0.0)
    monkeypatch.setattr(arithmetic, "quickest", lambda works: [1.0] * len(works))
    assert arithmetic.compare_precisions(config()).cosine > 0.9
    first = arithmetic._gradients
    seen: list[object] = []

    def broken(agent):
        seen.append(agent)
        return [g if len(seen) == 1 else -g for g in first(agent)]

    monkeypatch.setattr(arithmetic, "_gradients", broken)
    assert arithmetic.compare_precisions(config()).cosine < -0.9


@pytest.mark.parametrize(
    ("cores", "envs", "seconds", "expected"),
    [
        (2, 1, {}, 1),  # one core is the simulator's
        (4, 1, {1: 1.0, 2: 0.6, 3: 0.58}, 2),  # the third gains too little
        (5, 1, {1: 1.0, 2: 1.5, 4: 3.0}, 1),
        (4, 3, {}, 1),
    ],
)
def test_threads_are_those_that_pay_on_the_cores_that_simulators_leave(
    monkeypatch, cores, envs, seconds, expected
):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(arithmetic, "quickest", lambda works: list(seconds.values()))
    lines: list[str] = []
    chosen = arithmetic.measured(config("train.threads=auto", f"train.envs={envs}"), lines.append)
    assert chosen.train.threads == expected
    assert lines[0].startswith(f"threads: {expected}: ")


def test_the_quickest_call_of_each_counts():
    calls: list[int] = []
    times = arithmetic.quickest([lambda: calls.append(0), lambda: calls.append(1)], budget=0.0)
    assert calls == [0, 1, 0, 1] and len(times) == 2 and all(t >= 0 for t in times)


def test_a_run_that_goes_on_elsewhere_is_warned_and_measured_too(monkeypatch, tmp_path, capsys):
    """Begun where bfloat16 is in hardware, gone on with where it is emulated, threads chosen anew."""
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda: False)
    monkeypatch.setattr(arithmetic, "compare_precisions", lambda _: arithmetic.PrecisionFigures(0.5, 1.0))
    monkeypatch.setattr(arithmetic, "best_threads", lambda _: (1, "measured"))
    trained: list[Config] = []
    monkeypatch.setattr(train, "_train", lambda run, given, *_, **__: trained.append(given) or 0)
    given = config("agent.precision=bfloat16", "train.threads=auto")
    run = RunDirectory.create(tmp_path / "run", given, {})
    assert train._go_on(run, given, None, extended=False, ray=None) == 0
    assert trained[0].train.threads == 1 == run.config().train.threads
    assert "2.0 times" in capsys.readouterr().out


def test_the_same_command_goes_on_with_what_was_measured_then(monkeypatch, tmp_path):
    """Measured anew the threads could be others, and the run would not go on bit for bit."""
    never = lambda _: pytest.fail("measured again")  # noqa: E731
    monkeypatch.setattr(arithmetic, "best_threads", never)
    monkeypatch.setattr(arithmetic, "best_precision", never)
    trained: list[Config] = []
    monkeypatch.setattr(train, "_train", lambda run, given, *_, **__: trained.append(given) or 0)
    run = RunDirectory.create(tmp_path / "run", config("agent.precision=float32", "train.threads=3"), {})
    for threads, expected in (("auto", 3), ("2", 2)):  # given threads may change, as the machine may
        wanted = config("agent.precision=auto", f"train.threads={threads}")
        assert train._go_on_as_told(run, wanted, None, None) == 0
        assert (trained[-1].agent.precision, trained[-1].train.threads) == ("float32", expected)
        assert run.config() == trained[-1]
    with pytest.raises(UserError, match=r"agent\.precision is float32 there and bfloat16 here"):
        train._go_on_as_told(run, config("agent.precision=bfloat16"), None, None)


STARTS = {
    "train": lambda given, path: train.start(given, "debug", path),
    "validate": lambda given, path: validate.start(given, "debug", path, 120, None),
    "api": lambda given, path: api.train(given, path),
}
"""Whatever trains a new run."""


@pytest.mark.parametrize("how", STARTS)
def test_every_way_to_start_a_run_measures(monkeypatch, tmp_path, how):
    monkeypatch.setattr(arithmetic, "best_threads", lambda _: (1, "measured"))
    monkeypatch.setattr(arithmetic, "best_precision", lambda _: ("bfloat16", "measured"))

    class BegunError(Exception):
        pass

    def begin(run, given, *_):
        raise BegunError(given, run.config())

    monkeypatch.setattr(common, "make_trainer", begin)
    with pytest.raises(BegunError) as begun:
        STARTS[how](config("agent.precision=auto", "train.threads=auto"), tmp_path / "run")
    for found in begun.value.args:
        assert (found.agent.precision, found.train.threads) == ("bfloat16", 1)


@pytest.mark.parametrize("how", STARTS)
def test_graphs_without_a_gpu_are_refused(monkeypatch, tmp_path, how):
    monkeypatch.setattr(common, "make_trainer", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(ConfigError, match=r"agent\.execution = 'graphs' needs a GPU"):
        STARTS[how](config("agent.execution=graphs"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_from_python_goes_on_with_what_was_measured_then(monkeypatch, tmp_path):
    monkeypatch.setattr(arithmetic, "best_threads", lambda _: (1, "measured"))
    monkeypatch.setattr(api, "_train", lambda run, given, **_: given)
    run = RunDirectory.create(tmp_path / "run", config("train.threads=auto"), {})
    assert api.resume(run.path).train.threads == 1 == run.config().train.threads
    assert "resumed" in (run.path / "provenance.json").read_text()


def test_threads_below_zero_are_refused():
    with pytest.raises(ConfigError, match="threads"):
        config("train.threads=-1")
