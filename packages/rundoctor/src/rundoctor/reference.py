"""The run's settings beside the references', and published results for its task.

The references' values and the ranges around them: :mod:`rundoctor.signals.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .model import Reference
from .run import Known, Run
from .signals.settings import GAMMA, RATES, SETTINGS, Setting


def references(run: Run) -> list[Reference]:
    """One row for each setting; ``value`` is None where it is not known."""
    rows = []
    for setting in SETTINGS:
        known = _value(run, setting)
        if known is None:
            rows.append(Reference(setting.name, None, "not in the files", setting.paper, setting.sb3, ""))
            continue
        off, note = judge(setting, known.value)
        rows.append(Reference(setting.name, known.value, known.source, setting.paper, setting.sb3, note, off))
    return rows


def judge(setting: Setting, value: float) -> tuple[int, str]:
    """How far a value is from the references (0 not, 1 somewhat, 2 far), and what to say of it."""
    if setting in RATES.values():
        if value <= 0:
            return 0, "not trained by this optimiser"
        return setting.off(value), "references use 1e-4 to 1e-3"
    if setting is GAMMA:
        if not 0 < value < 1:
            return 2, "not a discount"
        return setting.off(value), f"looks {1 / (1 - value):.3g} steps ahead where the references look 100"
    if value <= 0 or setting.reference is None:
        return setting.off(value), f"{setting.meaning}; not positive"
    factor = max(value / setting.reference, setting.reference / value)
    where = "as in the references"
    if factor > 1.01:
        where = f"{factor:.3g} times {'larger' if value > setting.reference else 'smaller'}"
    return setting.off(value), f"{setting.meaning}; {where}"


def _value(run: Run, setting: Setting) -> Known | None:
    stated = run.hyper(setting.name)
    if stated is not None and stated.source == "given":
        return stated
    # A logged rate says what ran. Run.hyper measures gamma itself.
    if setting.signal is not None and setting in RATES.values():
        s = run.get(setting.signal)
        # float32 prints 1e-5 as 9.99999975e-06
        if s is not None:
            return Known(float(f"{s.first.value:.6g}"), s.tag)
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
