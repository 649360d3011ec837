"""The run's hyper-parameters beside the TD3 paper's and Stable-Baselines3's.

Paper: Fujimoto, van Hoof, Meger 2018, section 6.1 and appendix C (arXiv 1802.09477v3); its
authors' present code uses rates of 3e-4 and batches of 256.  SB3: defaults of ``TD3`` 2.x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .model import Reference
from .run import Known, Run


@dataclass(frozen=True)
class _Row:
    name: str
    paper: str
    sb3: str
    judge: Callable[[float], tuple[int, str]]
    series: str = ""
    """Canonical series that logs the value."""


def _horizon(gamma: float) -> tuple[int, str]:
    if not 0 < gamma < 1:
        return 2, "not a discount"
    ratio = (1 / (1 - gamma)) / 100
    text = f"looks {1 / (1 - gamma):.3g} steps ahead where the references look 100"
    return (2 if not 0.2 < ratio < 20 else 1 if not 0.45 < ratio < 2.2 else 0), text


def _around(
    reference: float, mild: float, below: float, above: float, what: str
) -> Callable[[float], tuple[int, str]]:
    def judge(value: float) -> tuple[int, str]:
        if value <= 0:
            return 2, f"{what}; not positive"
        factor = max(value / reference, reference / value)
        where = "as in the references"
        if factor > 1.01:
            where = f"{factor:.3g} times {'larger' if value > reference else 'smaller'}"
        far = value * below <= reference or value >= reference * above
        return (2 if far else 1 if factor >= mild else 0), f"{what}; {where}"

    return judge


def _rate(low: float, high: float) -> Callable[[float], tuple[int, str]]:
    def judge(value: float) -> tuple[int, str]:
        if value <= 0:
            return 0, "not trained by this optimiser"
        if value > 2.5 * high or value < low / 30:
            return 2, f"references use {low:g} .. {high:g}"
        if value > 1.5 * high or value < low / 1.5:
            return 1, f"references use {low:g} .. {high:g}"
        return 0, f"within {low:g} .. {high:g}"

    return judge


def _exactly(reference: float, what: str) -> Callable[[float], tuple[int, str]]:
    return lambda value: (0 if value == reference else 1, what)


_ROWS = (
    _Row("gamma", "0.99", "0.99", _horizon),
    _Row(
        "tau", "0.005", "0.005", _around(0.005, 2.1, 4, 40, "share of the network that its target takes over")
    ),
    _Row("actor_lr", "1e-3 (code 3e-4)", "1e-3", _rate(1e-4, 1e-3), "lr_actor"),
    _Row("critic_lr", "1e-3 (code 3e-4)", "1e-3", _rate(1e-4, 1e-3), "lr_critic"),
    _Row("actor_encoder_lr", "- (DrQ-v2 1e-4)", "1e-3", _rate(1e-4, 1e-3), "lr_actor_encoder"),
    _Row("critic_encoder_lr", "- (DrQ-v2 1e-4)", "1e-3", _rate(1e-4, 1e-3), "lr_critic_encoder"),
    _Row("batch_size", "100 (code 256)", "256", _around(160, 2.6, 10, math.inf, "samples a batch")),
    _Row("policy_delay", "2", "2", _exactly(2, "critic updates for each of the policy")),
    _Row("policy_noise", "0.2", "0.2", _around(0.2, 1.6, math.inf, 5, "target smoothing")),
    _Row("noise_clip", "0.5", "0.5", _around(0.5, 1.6, math.inf, 5, "limit of the target smoothing")),
    _Row(
        "exploration_noise",
        "0.1",
        "none by default",
        _around(0.1, 3.1, math.inf, 10, "noise while collecting data"),
    ),
)


def references(run: Run) -> list[Reference]:
    """One row a hyper-parameter; ``value`` is None where it is not known."""
    out = []
    for row in _ROWS:
        known = _value(run, row)
        if known is None:
            out.append(Reference(row.name, None, "not in the files", row.paper, row.sb3, ""))
            continue
        off, note = row.judge(known.value)
        out.append(Reference(row.name, known.value, known.source, row.paper, row.sb3, note, off))
    return out


def _value(run: Run, row: _Row) -> Known | None:
    stated = run.hyper(row.name)
    if stated is not None and stated.source == "given":
        return stated
    if row.series:
        s = run.get(row.series)
        # float32 prints 1e-5 as 9.99999975e-06
        if s is not None:
            return Known(float(f"{s.first.value:.6g}"), s.tag)
    if row.name == "exploration_noise" and stated is None:
        return None
    return stated


@dataclass(frozen=True)
class Published:
    """A published result: mean over trials after one million steps."""

    environment: str
    td3_paper: str
    sb3: str


# Paper: table 1 (maximum average return over 10 trials, gym v1 tasks on MuJoCo).  SB3: rl-baselines3-zoo and
# the documentation's PyBullet tasks, 3 seeds; other physics, so not the same numbers.
PUBLISHED = (
    Published("HalfCheetah", "9637 +- 859", "2757 +- 53 (PyBullet)"),
    Published("Hopper", "3564 +- 115", "2422 +- 168 (PyBullet)"),
    Published("Walker2d", "4683 +- 540", "2184 +- 54 (PyBullet)"),
    Published("Ant", "4372 +- 1000", "3146 +- 35 (PyBullet)"),
    Published("Reacher", "-3.60 +- 0.56", "-"),
    Published("InvertedPendulum", "1000 +- 0", "-"),
    Published("InvertedDoublePendulum", "9337 +- 15", "-"),
)


def published(run: Run) -> Published | None:
    """The published result for the run's task, where its name is in the path or the configuration."""
    names = " ".join([str(run.path), *(str(v) for v in run.config.values() if isinstance(v, str))]).lower()
    names = names.replace("_", "").replace("-", "")
    hits = [p for p in PUBLISHED if p.environment.lower() in names]
    return max(hits, key=lambda p: len(p.environment), default=None)
