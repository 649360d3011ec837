"""Nearly all episodes are ended by one and the same event."""

from __future__ import annotations

import numpy as np

from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, percent
from ..run import Run
from ..series import Series
from ..signals import episodes
from ..signals.conditions import SINGLE_CAUSE_TERMINATION

ALL = SINGLE_CAUSE_TERMINATION.threshold("critical")
OFFENCE = SINGLE_CAUSE_TERMINATION.threshold("warning")
"""Share beyond which an offence that need not end a drive decides how long episodes are."""
LEAST = 20
"""Episodes below which a share of 95 % says nothing."""
MANY = 100
"""Episodes after which an agent that learns fails in more than one way, or less often."""
RULES = ("lane invasion", "lane touch", "marking")
"""Offences that a rule makes an end; what really stops a drive is how every agent fails at first."""
_GOOD = ("success", "time_limit", "goal", "timeout", "truncated", "max_steps")
_EXPLAINED = f"Which event ended each episode is counted in {episodes.TERMINATION.tag} (info['termination'])."


def check(run: Run) -> Outcome:
    counted = _from_counts(run)
    if counted is not None:
        return counted
    return _from_events(run)


def _from_counts(run: Run) -> Outcome | None:
    counts = {
        tag.split("termination_", 1)[1]: s
        for tag, s in run.series.items()
        if "termination_" in tag and len(s.finite)
    }
    if not counts:
        return None
    totals = {cause: episode_total(s) for cause, s in counts.items()}
    everything = sum(totals.values())
    if everything < LEAST:
        return Skipped(
            f"only {everything:.0f} finished episodes", (), "Let the run finish at least 20 episodes."
        )
    cause, most = max(totals.items(), key=lambda item: item[1])
    share = most / everything
    listing = ", ".join(
        f"{c} {n / everything:.0%}" for c, n in sorted(totals.items(), key=lambda i: -i[1]) if n
    )
    if share < (OFFENCE if _is_offence(cause.replace("_", " ")) else ALL) or cause in _GOOD:
        return Clear(f"episodes end by {listing}")
    s = counts[cause]
    return _finding(
        cause.replace("_", " "),
        share,
        [
            Evidence(
                s.tag, s.last.step, s.last.value, f"{most:.0f} of {everything:.0f} episodes end by {cause}"
            )
        ],
        (s.tag,),
        run,
    )


def episode_total(s: Series) -> float:
    """Episodes that a termination series counts: totals so far grow; marks and counts per interval do not."""
    if len(s) > 1 and (np.diff(s.value) >= 0).all() and s.last.value > 1:
        return float(s.last.value)
    return float((s.value * s.weight).sum())


def _from_events(run: Run) -> Outcome:
    found: list[tuple[str, Series, float]] = []
    judged = []
    for signal, label in (
        (episodes.LANE_INVASIONS, "the first lane invasion"),
        (episodes.COLLISIONS, "a collision"),
    ):
        s = run.get(signal)
        if s is None or s.count < LEAST:
            continue
        # Exactly one an episode, however long the episode: the event ends it.
        share = float((s.value == 1).mean())
        judged.append(f"{share:.0%} of {s.count} episodes hold exactly one of {s.tag}")
        if share >= ALL:
            found.append((label, s, share))
    if not judged:
        return Skipped(
            "what ends an episode is not logged for at least 20 episodes",
            (episodes.TERMINATION.of("collision"), episodes.LANE_INVASIONS.tag),
            _EXPLAINED,
        )
    if not found:
        return Clear("; ".join(judged))
    label, s, share = found[0]
    evidence = [
        Evidence(
            s.tag,
            s.last.step,
            share,
            f"{s.tag} is exactly 1 in {percent(share)} of {s.count} episodes, whatever their length: {label} "
            "ends the episode",
        )
    ]
    other = run.get(episodes.COLLISIONS) if s.tag != (run.get(episodes.COLLISIONS) or s).tag else None
    if other is not None:
        evidence.append(
            Evidence(
                other.tag,
                other.last.step,
                float(other.value.mean()),
                f"{other.tag} is 0 in {percent(float((other.value == 0).mean()))} of them",
            )
        )
    return _finding(label, share, evidence, (s.tag,), run)


def _finding(label: str, share: float, evidence: list[Evidence], tags: tuple[str, ...], run: Run) -> Finding:
    lengths = run.get(episodes.LENGTH)
    if lengths is not None and len(lengths) >= 4:
        late = lengths.tail(0.5, 2)
        evidence.append(
            Evidence(
                lengths.tag,
                lengths.last.step,
                late.median(),
                f"episodes of the second half last {number(late.median())} steps in the median",
            )
        )
        tags = (*tags, lengths.tag)
    offence = _is_offence(label)
    stuck = run.episodes is not None and run.episodes >= MANY and not _improving(run)
    return Finding(
        "single-cause-termination",
        WARNING if offence or stuck else INFO,
        f"{percent(share)} of the episodes are ended by {label}",
        evidence,
        "The rule for ending episodes decides how long they are. The agent sees the same first few metres "
        "again and again and never learns what comes after them."
        if offence
        else "Every episode fails in the same way. That is usual at the beginning of training. If it stays "
        "that way, the agent never sees what comes after.",
        "End episodes only when driving on is impossible (collision, off the road, wrong way, stuck). Let "
        "everything else, such as a touched lane marking, cost reward instead."
        if offence
        else "Train on as long as returns or lengths rise. Otherwise watch some episodes to see what leads "
        "there, check saturation, reward and exploration, and start episodes at other places as well.",
        0.9,
        plots=tuple((t,) for t in tags),
    )


def _is_offence(label: str) -> bool:
    return any(word in label for word in RULES)


def _improving(run: Run) -> bool:
    for signal in (episodes.RETURN, episodes.LENGTH, episodes.ROUTE_COMPLETION):
        s = run.get(signal)
        if s is not None and len(s) >= LEAST:
            t = s.trend()
            if t.slope > 0 and t.p < 0.05:
                return True
    return False


RULE = Rule(
    id="single-cause-termination",
    title="Episodes all ended by one cause",
    statement=(
        "An event that occurs exactly once in nearly every episode, whatever its length, is what ends the "
        "episodes. A touched lane marking counts as soon as it ends more than half of them. Reaching the "
        "goal and the time limit do not count."
    ),
    check=check,
    order=20,
)
