"""What five post-mortems of the recorded runs state, figure by figure, and what the files hold.

Each row names a document by its number, the run that it is about, the quantity, the figure that is
stated, how to find it in the event file, and whether the two agree.  ``python -m
tests.diagnosis.statements`` prints the table as ``value stated / value found``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from rundoctor.load import load
from rundoctor.run import Run
from rundoctor.series import Series

RUNS = Path(__file__).resolve().parents[4] / "shared" / "runs"

D18, D20A, D20B, D20C = "day18-run1", "day20-run1", "day20-run2", "day20-run3"


@dataclass(frozen=True)
class Statement:
    """One figure of one document."""

    document: str
    run: str
    quantity: str
    stated: float
    find: Callable[[Run], float]
    holds: bool = True
    tolerance: float = 6e-3
    """Relative; the documents give three or four digits."""
    why: str = ""
    """What the figure really is, where it does not hold."""


@cache
def run_named(name: str) -> Run:
    return load([RUNS / name]).runs[0]


def agrees(statement: Statement, found: float) -> bool:
    """Whether stated and found are one figure, up to the digits that were stated."""
    return math.isclose(statement.stated, found, rel_tol=statement.tolerance, abs_tol=1e-9)


# --- ways to find a figure -----------------------------------------------------------------------------


def s(tag: str) -> Callable[[Run], Series]:
    return lambda run: run.series[tag]


def first(tag: str) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value[0])


def last(tag: str) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value[-1])


def low(tag: str) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value.min())


def high(tag: str) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value.max())


def mean(tag: str) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value.mean())


def std(tag: str, ddof: int = 0) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value.std(ddof=ddof))


def count(tag: str) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].count)


def at(tag: str, step: int) -> Callable[[Run], float]:
    def find(run: Run) -> float:
        x = run.series[tag]
        return float(x.value[x.step == step][0])

    return find


def index(tag: str, i: int) -> Callable[[Run], float]:
    return lambda r: float(r.series[tag].value[i])


def rise(tag: str) -> Callable[[Run], float]:
    """Growth from the first to the last value, per cent."""
    return lambda r: 100 * (float(r.series[tag].value[-1]) / float(r.series[tag].value[0]) - 1)


def part(tag: str, a: int, b: int, f: Callable[[np.ndarray], float] = np.mean) -> Callable[[Run], float]:
    return lambda r: float(f(r.series[tag].value[a:b]))


def slope(tag: str) -> Callable[[Run], float]:
    """Least squares over the index."""
    return lambda r: float(np.polyfit(np.arange(r.series[tag].count), r.series[tag].value, 1)[0])


def above(tag: str, limit: float) -> Callable[[Run], float]:
    return lambda r: float((r.series[tag].value > limit).sum())


def tags(prefix: str = "") -> Callable[[Run], float]:
    return lambda r: float(sum(t.startswith(prefix) for t in r.series))


def steps(run: Run) -> float:
    return float(run.last_step)


def share(total: int) -> Callable[[Run], float]:
    return lambda r: 100 * r.last_step / total


def gamma(run: Run) -> float:
    assert run.gamma is not None
    return run.gamma.value


def seconds(run: Run) -> float:
    a, b = run.wall_span
    return b - a


def batch(run: Run) -> float:
    """Smallest batch size of which every share of terminal transitions is a whole number."""
    x = run.series["debug/done_ratio"].value
    return next(n for n in range(1, 5000) if np.allclose(x * n, np.round(x * n), atol=1e-4))


def _document_001() -> Iterator[Statement]:
    d, r = "001", D18
    g, t, e = "gradients/", "train/", "train/episode_"

    def row(
        q: str, v: float, f: Callable[[Run], float], holds: bool = True, tol: float = 6e-3, why: str = ""
    ) -> Statement:
        return Statement(d, r, q, v, f, holds, tol, why)

    yield row("steps", 1800, steps)
    yield row("share of 5,000 steps, %", 36, share(5000))
    yield row("rate of the actor's encoder", 1e-5, last("agent/actor_cnn_lr"))
    yield row("rows of that rate", 8, count("agent/actor_cnn_lr"))
    yield row("actor loss, final", -934, last(t + "actor_loss"))
    yield row("Q1, final", 23.24, last(t + "q1_value"))
    yield row("Q2, final", 23.11, last(t + "q2_value"))
    yield row("Q1, mean", 19.72, mean(t + "q1_value"))
    yield row("Q1, lowest", 17.06, low(t + "q1_value"))
    yield row("Q2, mean", 19.74, mean(t + "q2_value"))
    yield row("Q2, lowest", 17.07, low(t + "q2_value"))
    why = "the lowest value was taken for the first"
    yield row("Q1, first", 17.06, first(t + "q1_value"), False, why=why)
    yield row("growth of Q1, %", 36, rise(t + "q1_value"), False, why=why)
    yield row("growth of Q2, %", 35, rise(t + "q2_value"), False, why=why)
    yield row(
        "mean Q1 - mean Q2, size",
        0.02,
        lambda x: abs(mean(t + "q1_value")(x) - mean(t + "q2_value")(x)),
        tol=0.02,
    )
    for tag, low_, high_, mean_, std_ in (
        ("actor_cnn", 2.08, 2.41, 2.19, 0.10),
        ("critic_cnn", 20.91, 24.27, 23.17, 1.13),
    ):
        yield row(f"norm of {tag}, lowest", low_, low(f"{g}{tag}_norm"))
        yield row(f"norm of {tag}, highest", high_, high(f"{g}{tag}_norm"))
        yield row(f"norm of {tag}, mean", mean_, mean(f"{g}{tag}_norm"))
        yield row(f"norm of {tag}, spread", std_, std(f"{g}{tag}_norm"), tol=0.05)
    yield row("norm of actor_mlp, highest", 0.00007, high(g + "actor_mlp_norm"))
    yield row("norm of critic_mlp, lowest", 2.77, low(g + "critic_mlp_norm"))
    yield row("norm of critic_mlp, highest", 4.76, high(g + "critic_mlp_norm"))
    yield row(
        "critic's encoder norm stays under",
        10,
        high(g + "critic_cnn_norm"),
        False,
        why="its own range is 20.91 .. 24.27",
    )
    yield row("warnings", 0, high("alerts/gradient_explosion_warning"))
    yield row("critical alerts", 0, high("alerts/gradient_explosion_critical"))
    yield row("episodes", 66, count(e + "length"))
    yield row("episode length, mean", 28.30, mean(e + "length"))
    yield row("episode length, highest", 84, high(e + "length"))
    yield row("episode length, lowest", 16, low(e + "length"))
    yield row("episode length, spread", 19.29, std(e + "length"))
    yield row(
        "episode length, median",
        20,
        lambda x: float(np.median(s(e + "length")(x).value)),
        False,
        why="an estimate",
    )
    for i, v in zip((0, 1, 2, -3, -2, -1), (50, 50, 72, 16, 18, 17), strict=True):
        yield row(f"episode length [{i}]", v, index(e + "length", i))
    yield row("return, mean", 353.43, mean(e + "reward"))
    yield row("return, lowest", 112.18, low(e + "reward"))
    yield row("return, highest", 1857.37, high(e + "reward"))
    yield row("return, spread", 415.95, std(e + "reward"))
    yield row("critic loss, first", 76.07, first(t + "critic_loss"))
    yield row("critic loss, last", 20.88, last(t + "critic_loss"))
    yield row("change of the critic loss, %", -72, rise(t + "critic_loss"), tol=0.01)
    yield row("buffer utilisation", 0.0186, last("agent/buffer_utilization"))
    yield row(
        "buffer capacity",
        97_000,
        lambda x: last("progress/buffer_size")(x) / last("agent/buffer_utilization")(x),
    )
    for step, v in zip(
        range(1100, 1801, 100),
        (-2.38, -9.84, -24.15, -53.92, -119.53, -242.70, -483.28, -933.79),
        strict=True,
    ):
        off = step in (1400, 1500)
        yield row(
            f"actor loss at {step:,}",
            v,
            at(t + "actor_loss", step),
            not off,
            why="near, but not in the file" if off else "",
        )
    yield row(
        "growth of the actor loss, times",
        391,
        lambda x: last(t + "actor_loss")(x) / first(t + "actor_loss")(x),
    )
    yield row(
        "growth of the actor loss per step, %",
        0.89,
        lambda x: 100 * ((last(t + "actor_loss")(x) / first(t + "actor_loss")(x)) ** (1 / 700) - 1),
        False,
        why="391.6 ** (1 / 700) = 1.00856",
    )
    yield row(
        "time until the freeze, s",
        2,
        seconds,
        False,
        why="the text log was cut; the events go on to step 1,800 at 8 steps/s",
    )


def _document_002() -> Iterator[Statement]:
    d, r = "002", D20A
    g, t = "gradients/", "train/"

    def row(
        q: str, v: float, f: Callable[[Run], float], holds: bool = True, tol: float = 6e-3, why: str = ""
    ) -> Statement:
        return Statement(d, r, q, v, f, holds, tol, why)

    yield row("duration, s", 302, seconds, tol=0.05)
    yield row("steps", 1700, steps)
    yield row("share of 5,000 steps, %", 34, share(5000))
    for kind, a, b, c in (
        ("mean", 2.344, 349.055, 14_789),
        ("max", 2.589, 406.088, 15_583),
        ("min", 0.961, 19.398, 1_918),
        ("std", 0.149, 78.141, 52_369),
    ):
        tag = f"debug/actor_q_{kind}"
        yield row(f"actor Q {kind}, first", a, first(tag))
        yield row(f"actor Q {kind}, last", b, last(tag))
        yield row(f"actor Q {kind}, growth in %", c, rise(tag))
    for tag, a, b in (
        ("train/q1_value", 16.238, 10.909),
        ("train/q2_value", 16.282, 10.966),
        ("debug/q1_max", 33.530, 36.896),
        ("debug/q2_max", 33.619, 36.769),
        ("debug/q1_min", 2.284, -49.822),
        ("debug/q2_min", 2.404, -49.647),
    ):
        yield row(f"{tag}, first", a, first(tag))
        yield row(f"{tag}, last", b, last(tag))
    made_up = "only the first and the last row of the table are in the file"
    for name, tag, values in (
        ("actor loss", t + "actor_loss", (-2.344, -3.421, -11.846, -58.395, -191.322, -325.890, -349.055)),
        ("critic loss", t + "critic_loss", (255.759, 119.754, 78.461, 62.189, 50.324, 45.127, 42.578)),
        ("TD error of Q1", "debug/td_error_q1", (5.922, 4.820, 3.861, 3.419, 2.889, 2.644, 2.500)),
        ("TD error of Q2", "debug/td_error_q2", (5.931, 4.857, 3.893, 3.455, 2.926, 2.681, 2.537)),
    ):
        for k, v in enumerate(values):
            end = k in (0, 6)
            yield row(
                f"{name} at {1100 + 100 * k:,}", v, at(tag, 1100 + 100 * k), end, why="" if end else made_up
            )
    for tag, a, b, c in (
        ("actor_cnn", 2.395, 2.096, -12.5),
        ("actor_mlp", 0.000110, 0.000004, -96.4),
        ("critic_cnn", 21.772, 23.854, 9.6),
        ("critic_mlp", 5.252, 2.118, -59.7),
    ):
        yield row(f"norm of {tag}, first", a, first(f"{g}{tag}_norm"))
        yield row(f"norm of {tag}, last", b, last(f"{g}{tag}_norm"), tol=0.05)
        yield row(f"norm of {tag}, change in %", c, rise(f"{g}{tag}_norm"))
    not_mean = "the last row's share was taken for the mean"
    for tag, a, b, c in (
        ("progress", 29.25, 2.29, 80.1),
        ("safety", -60.0, -0.5, 17.4),
        ("lane_keeping", -2.0, 0.03, 0.9),
        ("efficiency", 0.63, 0.02, 0.7),
        ("comfort", -0.15, -0.02, 0.8),
    ):
        yield row(f"{tag} reward, first", a, first(f"rewards/{tag}_component"))
        yield row(f"{tag} reward, last", b, last(f"rewards/{tag}_component"), tol=0.25)
        yield row(f"{tag} share, mean in %", c, mean(f"rewards/{tag}_percentage"), False, why=not_mean)
        yield row(f"{tag} share, last in %", c, last(f"rewards/{tag}_percentage"), tol=0.07)
    yield row(
        "episode length 0-20, lowest",
        50,
        part(t + "episode_length", 0, 20, np.min),
        False,
        why="19 from episode 18 on",
    )
    yield row("episode length 0-20, highest", 84, part(t + "episode_length", 0, 20, np.max))
    yield row("episode length 40-58, highest", 20, part(t + "episode_length", 40, 59, np.max))
    yield row(
        "episode length 40-58, lowest",
        16,
        part(t + "episode_length", 40, 59, np.min),
        False,
        tol=0.05,
        why="17",
    )
    yield row(
        "return 0-20, lowest",
        700,
        part(t + "episode_reward", 0, 20, np.min),
        False,
        tol=0.05,
        why="a sixth of that",
    )
    yield row("return 0-20, highest", 1800, part(t + "episode_reward", 0, 20, np.max))
    yield row("return 40-58, lowest", 50, part(t + "episode_reward", 40, 59, np.min), tol=0.1)
    yield row(
        "return 40-58, highest",
        70,
        part(t + "episode_reward", 40, 59, np.max),
        False,
        tol=0.05,
        why="up to 86",
    )
    yield row("collisions an episode", 0, high(t + "collisions_per_episode"))
    yield row("lane invasions an episode", 1, low(t + "lane_invasions_per_episode"))
    yield row(
        "rate of the actor's encoder",
        1e-4,
        last("agent/actor_cnn_lr"),
        False,
        why="it was 1e-5: the change was not in this run",
    )
    yield row("gamma", 0.9, gamma)


def _document_003() -> Iterator[Statement]:
    d, r = "003", D20B
    g, t = "gradients/", "train/"

    def row(
        q: str, v: float, f: Callable[[Run], float], holds: bool = True, tol: float = 6e-3, why: str = ""
    ) -> Statement:
        return Statement(d, r, q, v, f, holds, tol, why)

    yield row("steps", 5000, steps)
    for group, n in (
        ("agent", 15),
        ("alerts", 2),
        ("debug", 22),
        ("eval", 5),
        ("gradients", 4),
        ("progress", 4),
        ("train", 9),
    ):
        yield row(f"tags under {group}/", n, tags(group + "/"))
    yield row("tags", 61, tags())
    for kind, a, b, m, sd in (
        ("mean", 2.29, 1_796_760.12, 278_984.98, 440_759.76),
        ("std", 0.18, 538_780.06, 84_321.81, 141_308.33),
    ):
        tag = f"debug/actor_q_{kind}"
        yield row(f"actor Q {kind}, first", a, first(tag))
        yield row(f"actor Q {kind}, last", b, last(tag), tol=1e-6)
        yield row(f"actor Q {kind}, mean", m, mean(tag), tol=1e-6)
        yield row(f"actor Q {kind}, spread", sd, std(tag), tol=1e-6)
    yield row(
        "actor Q over the expected 50, times",
        78_469,
        lambda x: last("debug/actor_q_mean")(x) / 50,
        False,
        why="1,796,760 / 50",
    )
    yield row("return, first", 721.86, first(t + "episode_reward"))
    yield row("return, last", 7.63, last(t + "episode_reward"))
    yield row("return, mean", 103.99, mean(t + "episode_reward"))
    yield row("return, spread", 179.68, std(t + "episode_reward"))
    yield row("return, slope per episode", -0.3619, slope(t + "episode_reward"))
    yield row(
        "fall of the return, %", -94.4, rise(t + "episode_reward"), False, why="721.86 to 7.63 is -98.9 %"
    )
    yield row("episode length, first", 50, first(t + "episode_length"))
    yield row("episode length, last", 2, last(t + "episode_length"))
    yield row("episode length, mean", 10.44, mean(t + "episode_length"))
    yield row("episode length, spread", 46.75, std(t + "episode_length"))
    yield row("episode length, slope per episode", -0.0660, slope(t + "episode_length"))
    yield row(
        "points of losses",
        0,
        lambda x: count(t + "critic_loss")(x) + count(t + "actor_loss")(x),
        False,
        why="they are there as train/*_loss; losses/* was looked for",
    )
    for tag, m, top in (
        ("actor_mlp", 0.000107, 0.003839),
        ("actor_cnn", 2.026425, 2.421187),
        ("critic_mlp", 1.906598, 3.592864),
        ("critic_cnn", 23.304445, 24.689190),
    ):
        yield row(f"norm of {tag}, mean", m, mean(f"{g}{tag}_norm"))
        yield row(f"norm of {tag}, highest", top, high(f"{g}{tag}_norm"), tol=1e-4)
    yield row("gamma", 0.9, gamma, False, why="effective_discount / (1 - done_ratio) = 0.99 on every row")
    yield row("rate of the critic", 3e-4, last("agent/critic_lr"))
    yield row("batch size", 256, batch)


def _document_000() -> Iterator[Statement]:
    d, r = "000", D20C
    g, t = "gradients/", "train/"

    def row(
        q: str,
        v: float,
        f: Callable[[Run], float],
        holds: bool = True,
        tol: float = 6e-3,
        why: str = "",
        run: str = r,
    ) -> Statement:
        return Statement(d, run, q, v, f, holds, tol, why)

    by_episode = "175 is the last index of train/episode_*, which count episodes"
    yield row("steps", 175, steps, False, why=by_episode)
    yield row("share of 10,000 steps, %", 1.75, share(10_000), False, why=by_episode)
    yield row("tags", 54, tags())
    yield row("episodes", 176, count(t + "episode_reward"))
    yield row("rows of gradient norms", 27, count(g + "actor_cnn_norm"))
    yield row(
        "training updates",
        27,
        last("agent/total_iterations"),
        False,
        why="27 rows were logged, one every 100 updates",
    )
    yield row("norm of actor_cnn, mean", 1.9257, mean(g + "actor_cnn_norm"), tol=1e-4)
    yield row("norm of actor_cnn, lowest", 1.9122, low(g + "actor_cnn_norm"), tol=1e-4)
    yield row("norm of actor_cnn, highest", 1.9706, high(g + "actor_cnn_norm"), tol=1e-4)
    yield row("rows of actor_cnn above 1", 27, above(g + "actor_cnn_norm", 1))
    yield row("norm of critic_cnn, mean", 20.8147, mean(g + "critic_cnn_norm"), tol=1e-4)
    yield row("norm of critic_cnn, lowest", 16.0390, low(g + "critic_cnn_norm"), tol=1e-4)
    yield row("norm of critic_cnn, highest", 22.8751, high(g + "critic_cnn_norm"), tol=1e-4)
    yield row("rows of critic_cnn above 10", 27, above(g + "critic_cnn_norm", 10))
    yield row("norm of actor_mlp, highest", 0, high(g + "actor_mlp_norm"))
    yield row("norm of critic_mlp, mean", 5.9698, mean(g + "critic_mlp_norm"), tol=1e-4)
    yield row("norm of critic_mlp, lowest", 1.3581, low(g + "critic_mlp_norm"), tol=1e-4)
    yield row("norm of critic_mlp, highest", 13.3554, high(g + "critic_mlp_norm"), tol=1e-4)
    yield row("rows of critic_mlp above 10", 1, above(g + "critic_mlp_norm", 10))
    yield row("Q1, mean", 32.02, mean(t + "q1_value"))
    yield row("Q1, lowest", -161.94, low(t + "q1_value"))
    yield row("Q1, highest", 248.18, high(t + "q1_value"))
    yield row("Q2, mean", 31.28, mean(t + "q2_value"))
    yield row("Q2, lowest", -191.10, low(t + "q2_value"))
    yield row("Q2, highest", 249.03, high(t + "q2_value"))
    yield row("points of the actor's Q", 27, count("debug/actor_q_mean"))
    yield row("points of train/actor_q_value", 0, tags("train/actor_q_value"))
    yield row("critic loss, mean", 1271.28, mean(t + "critic_loss"))
    yield row("actor loss, mean", -1.28e12, mean(t + "actor_loss"))
    yield row("actor loss, lowest", -6.29e12, low(t + "actor_loss"))
    yield row("actor loss, highest", -1.61e6, high(t + "actor_loss"))
    yield row("episode length, mean", 21.1, mean(t + "episode_length"))
    yield row("episode length, spread", 13.0, std(t + "episode_length"), tol=0.01)
    yield row("episode length, lowest", 5, low(t + "episode_length"), False, why="a guess")
    yield row("episode length, highest", 40, high(t + "episode_length"), False, why="a guess")
    yield row("return, mean", 158.85, mean(t + "episode_reward"))
    yield row("return, first third", 327.87, part(t + "episode_reward", 0, 58))
    yield row("return, last third", 74.53, part(t + "episode_reward", 118, 176), tol=0.01)
    yield row(
        "alerts",
        0,
        lambda x: (
            high("alerts/gradient_explosion_warning")(x) + high("alerts/gradient_explosion_critical")(x)
        ),
    )
    # what it compares with is another run than it says
    other = "the figure of day20-run1, which is not of that day"
    yield row("day 18: actor loss, final", -349, last(t + "actor_loss"), False, why=other, run=D18)
    yield row("day 20, run 1: actor loss, final", -349, last(t + "actor_loss"), run=D20A)
    yield row("day 18: steps", 5000, steps, False, why="1,800; day20-run2 made 5,000", run=D18)
    yield row(
        "day 18: norm of actor_cnn, highest",
        2.42,
        high(g + "actor_cnn_norm"),
        False,
        3e-3,
        "that of day20-run2",
        D18,
    )
    yield row(
        "day 18: norm of critic_cnn, highest",
        24.69,
        high(g + "critic_cnn_norm"),
        False,
        why="that of day20-run2",
        run=D18,
    )
    yield row(
        "loss over that of day 18, times", 3.67e9, lambda x: mean(t + "actor_loss")(x) / -349.055, tol=0.01
    )
    yield row(
        "rate of the actor before",
        1e-4,
        last("agent/actor_lr"),
        False,
        why="3e-4 in all three earlier runs",
        run=D20B,
    )
    yield row("rate of the actor", 1e-3, last("agent/actor_lr"))


def _document_004() -> Iterator[Statement]:
    d, r = "004", D20C
    g, t = "gradients/", "train/"

    def row(
        q: str, v: float, f: Callable[[Run], float], holds: bool = True, tol: float = 6e-3, why: str = ""
    ) -> Statement:
        return Statement(d, r, q, v, f, holds, tol, why)

    yield row("norm of actor_cnn", 1.92, mean(g + "actor_cnn_norm"))
    yield row("norm of critic_cnn", 20.81, mean(g + "critic_cnn_norm"))
    yield row("norm of critic_cnn, highest", 22.88, high(g + "critic_cnn_norm"))
    yield row("norm of critic_mlp, mean", 5.97, mean(g + "critic_mlp_norm"))
    yield row("norm of critic_mlp, highest", 13.36, high(g + "critic_mlp_norm"))
    yield row(
        "excess of actor_cnn over 1, %", 92, lambda x: 100 * (mean(g + "actor_cnn_norm")(x) - 1), tol=0.01
    )
    yield row(
        "excess of critic_cnn over 10, %",
        108,
        lambda x: 100 * (mean(g + "critic_cnn_norm")(x) / 10 - 1),
        tol=0.01,
    )
    yield row("actor loss, lowest", -6.29e12, low(t + "actor_loss"))
    yield row("actor loss, highest", -1.61e6, high(t + "actor_loss"))
    yield row("actor loss, mean", -1.28e12, mean(t + "actor_loss"))
    yield row("steps", 175, steps, False, why="episodes; the run made 3,700 steps")
    yield row("tags", 54, tags())
    yield row("gamma", 0.99, gamma)
    yield row("rate", 1e-3, last("agent/actor_lr"))


STATEMENTS: tuple[Statement, ...] = (
    *_document_000(),
    *_document_001(),
    *_document_002(),
    *_document_003(),
    *_document_004(),
)


def table() -> list[str]:
    """``document run quantity: stated / found``, those that do not hold marked as such."""
    out = []
    for x in STATEMENTS:
        found = x.find(run_named(x.run))
        mark = "" if agrees(x, found) else f"   DOES NOT HOLD{': ' + x.why if x.why else ''}"
        out.append(f"{x.document} {x.run:<11} {x.quantity}: {x.stated:.9g} / {found:.9g}{mark}")
    return out


if __name__ == "__main__":
    print("\n".join(table()))
