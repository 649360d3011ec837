"""A vehicle does not move."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from ..measures import action_columns
from ..model import (
    CRITICAL,
    WARNING,
    Clear,
    Evidence,
    Finding,
    Outcome,
    Rule,
    Severity,
    Skipped,
    count,
    number,
)
from ..run import Run
from ..series import Series
from ..signals import episodes, evaluation, normalised
from ..signals.conditions import AGENT_STANDSTILL
from ..signals.words import words_of
from ..stats import Floats, median, settles_below

STILL = AGENT_STANDSTILL.threshold("blocked")
"""Speed of a car that is blocked; at rest on CARLA's physics it still reads a few thousandths of km/h."""
ROWS, SHARE = 5, AGENT_STANDSTILL.threshold("rows")
LATE = 0.25
"""Share of the rows, counted from the end, in which a policy that has learned to stand does so."""
CRAWL, OF_USUAL = AGENT_STANDSTILL.threshold("warning"), AGENT_STANDSTILL.threshold("usual")
"""Speeds below which a car stands: in km/h or m/s, and as a share of its earlier speed."""
NORMALISED, CRAWL_NORMALISED = 2.0, AGENT_STANDSTILL.threshold("normalised")
"""If no speed exceeds the first, speeds may be shares of a top speed; then the second is the limit."""

_SPEED = re.compile(
    r"(^|[/_])(speed|velocity|vel)(_?(x|kmh|km_h|kph|mps|ms|m_s|km/h|m/s|mean|avg|average))*$"
)
_NOT_SPEED = re.compile(
    r"limit|target|desired|max|min|std|error|reward|penalty|cost|loss|relative|angular|lateral|steps|frames|fps"
    r"|sps|training_|learning|tracking|joint|(^|/)(time|eval|perf)/|(^|[/_])(rew|dof|ang|lin|pole|theta)([/_]|$)"
)
_OF_VEHICLES = {
    *("throttle", "steer", "steering", "brake", "collision", "collisions", "lane", "kmh", "kph", "offroad"),
    *("carla", "torcs", "metadrive", "highway", "driving"),
}
"""Words of tags, of the run's name or of its configuration that only vehicles and their simulators have."""


def check(run: Run) -> Outcome:
    speed = speed_of(run)
    if speed is None:
        return Skipped("no speed is logged", (episodes.SPEED.tag,), "Log the speed of the vehicle.")
    if not _is_vehicle(run):
        return Clear(f"nothing says that {speed.tag} is that of a vehicle")
    if len(speed) < 2 * ROWS:
        return Skipped(f"only {count(len(speed), 'row')} of {speed.tag}", (speed.tag,))
    size = np.abs(speed.value)
    start, length = _longest(size < STILL)
    if length >= max(ROWS, SHARE * len(speed)) and start + length < len(speed):
        return _blocked(run, speed, start, length)
    crawling = _crawls(size)
    if crawling is not None:
        return _stands(run, speed, crawling)
    if length >= max(ROWS, SHARE * len(speed)):
        return _blocked(run, speed, start, length)
    return Clear(
        f"{speed.tag}: median {number(speed.median())}, at rest on {(size < STILL).mean():.0%} of the rows"
    )


def speed_of(run: Run) -> Series | None:
    known = run.get(episodes.SPEED)
    if known is not None:
        return known
    for tag, s in run.series.items():
        name = normalised(tag)
        if _SPEED.search(name) and not _NOT_SPEED.search(name) and len(s.finite):
            return s.finite
    return None


def _is_vehicle(run: Run) -> bool:
    """Whether the log is that of a vehicle; a pole, a joint or a solved walker may be at rest."""
    texts = [*run.series, run.name, *run.path.parts[-2:], *map(str, run.config.values())]
    return any(not _OF_VEHICLES.isdisjoint(words_of(text)) for text in texts)


def _crawls(size: Floats) -> int | None:
    """Index from which on the car hardly moves any more; None when it does at the end."""
    late = median(size[-max(ROWS, round(LATE * len(size))) :])
    usual = float(np.percentile(size, 95))
    limit = CRAWL if float(size.max()) > NORMALISED else CRAWL_NORMALISED
    limit = max(STILL, min(limit, OF_USUAL * usual)) if usual > limit else limit
    if late >= limit:
        return None
    return settles_below(size, limit, least=3)


def _stands(run: Run, speed: Series, start: int) -> Finding:
    first = int(speed.step[start])
    late = np.abs(speed.value[start:])
    before = np.abs(speed.value[:start])
    text = f"{speed.tag} is {number(median(late))} in the median from step {first:,} to the end"
    if len(before) >= ROWS:
        text += f"; before, it was {number(median(before))}"
    evidence = [Evidence(speed.tag, speed.last.step, speed.last.value, text)]
    for s in action_columns(run):
        level = s.tail(LATE, 2).median()
        if re.search(r"throttle|accel|gas|brake", s.tag, re.I):
            evidence.append(Evidence(s.tag, s.last.step, level, f"{s.tag} is {number(level)} meanwhile"))
    severity: Severity = CRITICAL if len(late) >= 0.5 * len(speed) else WARNING
    return Finding(
        "agent-standstill",
        severity,
        "The agent stands still" if not start else f"The agent stands still from step {first:,} on",
        evidence,
        "The policy has learned to stand: every move risks a penalty (collision, lane, comfort), and "
        "standing costs nothing. Or it cannot drive off: throttle and brake are applied at once, the action "
        "is mapped to the wrong control, or the hand brake or a red light holds the vehicle.",
        "Drive a few seconds with a fixed throttle of 0.5 in the same environment. If it stands, "
        "correct how the action is applied. If it drives, make standing cost something: a small penalty for "
        "each step, an end of the episode after some seconds at rest, and progress as the largest reward "
        "term.",
        0.85,
        onset=first if start else None,
        plots=((speed.tag,),),
        explains=("never-learns", "policy-frozen", "single-cause-termination"),
    )


def _blocked(run: Run, speed: Series, start: int, length: int) -> Finding:
    """Exactly 0 for a stretch: something other than the policy holds the vehicle."""
    first, last = int(speed.step[start]), int(speed.step[start + length - 1])
    text = f"{speed.tag} is 0 on {length} rows in a row, steps {first:,} to {last:,}"
    evidence = [Evidence(speed.tag, first, float(speed.value[start]), text)]
    cause = "The vehicle is blocked, has no throttle, or its physics is not simulated."
    fix = "Look at the actions, at the vehicle's state and at whether its actor still exists."
    evaluated = run.get(evaluation.RETURN, evaluation.LENGTH)
    row = run.row_interval
    if evaluated is not None:
        before = evaluated.step[(evaluated.step <= first) & (evaluated.step >= first - 2 * row)]
        if len(before):
            at = int(before[-1])
            value = float(evaluated.value[evaluated.step == at][-1])
            text = f"it begins right after the evaluation at step {at:,}"
            evidence.append(Evidence(evaluated.tag, at, value, text))
            cause = (
                "The evaluation disturbed the training environment: it shares its world, its Traffic "
                "Manager or its ego vehicle, and left that of training unable to move."
            )
            fix = (
                "Evaluate in an environment of its own (own simulator, own Traffic Manager port), or reset "
                "the training environment after every evaluation."
            )
    lengths = run.get(episodes.LENGTH)
    if lengths is not None and lengths.highest is not None and lengths.highest.value >= last - first:
        evidence.append(
            Evidence(
                lengths.tag,
                lengths.highest.step,
                lengths.highest.value,
                f"one episode of {number(lengths.highest.value)} steps passed like that, and the replay "
                "buffer holds it",
            )
        )
    return Finding(
        "agent-standstill",
        WARNING,
        f"The agent stood still from step {first:,} to {last:,}",
        evidence,
        cause,
        fix,
        0.85,
        onset=first,
        plots=((speed.tag,),),
    )


def _longest(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    k = int(np.argmax(lengths))
    return int(edges[::2][k]), int(lengths[k])


RULE = Rule(
    id="agent-standstill",
    title="Agent at rest",
    statement=(
        "A vehicle that is driven moves. A speed of exactly 0 on many rows in a row means that something "
        "holds it. A speed near 0 to the end of the run means that the policy stands, or cannot drive off. "
        "Other agents, such as robots and poles, may be at rest, and are not judged."
    ),
    check=check,
    order=21,
)
