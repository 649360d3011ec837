"""One reward component dominates the others, or the scale is far off."""

from __future__ import annotations

import numpy as np

from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, times
from ..run import Run
from ..series import Series
from ..signals import replay
from ..signals.conditions import REWARD_ABOVE_BOUND, REWARD_IMBALANCE

DROWNED = REWARD_IMBALANCE.threshold("warning")
"""Share of all |reward| from which the rest together is less than a tenth."""
TOO_LARGE = REWARD_IMBALANCE.threshold("spread")
"""Standard deviation of single rewards."""


def check(run: Run) -> Outcome:
    scale = _scale(run)
    if scale is not None:
        return scale
    components = {
        tag.split("/", 1)[1].removesuffix("_component"): s
        for tag, s in run.series.items()
        if tag.startswith("rewards/") and tag.endswith("_component") and len(s.finite)
    }
    shares = {
        tag.split("/", 1)[1].removesuffix("_percentage"): s
        for tag, s in run.series.items()
        if tag.startswith("rewards/") and tag.endswith("_percentage") and len(s.finite)
    }
    if len(components) < 2 and len(shares) < 2:
        return Skipped(
            "the reward's components are not logged",
            (replay.COMPONENT.tag, replay.SHARE.tag),
            "Log each component of the reward and its share.",
        )
    if len(components) >= 2:
        sizes = {k: float(np.mean(np.abs(s.finite.value))) for k, s in components.items()}
        tags: dict[str, Series] = components
    else:
        sizes = {k: max(0.0, s.finite.median()) for k, s in shares.items()}
        tags = shares
    total = sum(sizes.values())
    fewest = min(s.count for s in tags.values())
    if total <= 0 or fewest < 5:
        return Skipped(f"only {fewest} rows of components", tuple(s.tag for s in tags.values())[:3])
    name = max(sizes, key=lambda k: sizes[k])
    share = sizes[name] / total
    listing = ", ".join(f"{k} {v / total:.0%}" for k, v in sorted(sizes.items(), key=lambda i: -i[1]))
    if share < DROWNED:
        return Clear(f"shares of |reward|: {listing}")
    s = tags[name]
    return Finding(
        "reward-imbalance",
        WARNING,
        f"The {name.replace('_', ' ')} component dominates the reward",
        [Evidence(s.tag, s.last.step, s.last.value, f"shares of |reward| over {s.count} rows: {listing}")],
        "Everything else together is less than a tenth of the reward. That is less than the critic's error, "
        "so it is not learned.",
        "Scale the components so that each makes up a visible share of the reward, or drop those that do "
        "not matter.",
        0.85,
        plots=(tuple(s.tag for s in tags.values()),),
    )


def _scale(run: Run) -> Finding | None:
    bound, low, high = run.get(replay.REWARD_BOUND), run.get(replay.REWARD.min), run.get(replay.REWARD.max)
    seen = [s for s in (low, high) if s is not None]
    if bound is not None and seen:
        limit = float(np.abs(bound.value).max())
        worst = max(seen, key=lambda s: float(np.abs(s.value).max()))
        most = float(np.abs(worst.value).max())
        if limit > 0 and most > REWARD_ABOVE_BOUND.threshold("critical") * limit:
            i = int(np.argmax(np.abs(worst.value)))
            return _too_large(
                worst,
                Evidence(
                    worst.tag,
                    int(worst.step[i]),
                    float(worst.value[i]),
                    f"a reward of {number(float(worst.value[i]))} where at most {number(limit)} is "
                    f"documented ({times(most / limit)})",
                ),
                0.95,
            )
    std = run.get(replay.REWARD.std)
    if std is not None and std.median() > TOO_LARGE:
        return _too_large(
            std,
            Evidence(
                std.tag,
                std.last.step,
                std.last.value,
                f"rewards of single steps scatter by {number(std.median())}; rates of 1e-4 .. 1e-3 suit "
                "rewards about 1",
            ),
            0.75,
        )
    return None


def _too_large(series: Series, evidence: Evidence, confidence: float) -> Finding:
    return Finding(
        "reward-imbalance",
        WARNING,
        "The reward's scale is far too large",
        [evidence],
        "TD errors and gradients grow with the scale of the reward: the critic's clip is always active, Q "
        "takes long to reach its size, and the actor saturates within some hundred updates.",
        "Scale the reward so that single steps stay about 1 (divide it; do not clip it), and keep terminal "
        "rewards within about ten of them.",
        confidence,
        plots=((series.tag,),),
    )


RULE = Rule(
    id="reward-imbalance",
    title="Unbalanced reward",
    statement=(
        "Where one component makes up nine tenths of |reward|, the others are smaller than the critic's "
        "error. Rewards far from 1 a step do not go with the usual learning rates, gradient clips and "
        "initial weights."
    ),
    check=check,
    order=28,
)
