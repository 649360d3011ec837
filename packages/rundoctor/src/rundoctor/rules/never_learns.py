"""The returns are no better at the end than at the start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..beginning import Beginning, beginning
from ..chance import rise
from ..lessons import is_rating, lessons, skill
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number, percent
from ..run import Run
from ..series import Series
from ..signals import episodes, evaluation
from ..signals.conditions import NEVER_LEARNS
from ..stats import level, level_name, levels, parts, scatter, spread, trend
from .policy_frozen import full_reward, repeat_at_end, unnamed_reward

LEAST = 20
"""Returns below which a trend cannot be told from chance."""
LEAST_EVALUATIONS = 8
LEAST_MEANS = 5
"""Means over 100 episodes, none of which is in two of them, before they tell learning from chance."""
FEW = 40
"""Returns below which a rise by one or two scatters is hardly told from chance."""
EARLY = 10_000
"""Environment steps that hardly any task is learned in; a run that ended on purpose is judged sooner."""
EARLY_FINISHED = 3_000
MANY = 100
"""Rows that are enough where steps are not known."""
SHORT = 50_000
"""Environment steps up to which a run may simply have been too short."""
STEADY = NEVER_LEARNS.threshold("steady")
"""Scatter as a share of the level below which flat returns may be those of a policy that was good already.

They are not where the log shows that the agent was untrained at first (``beginning``)."""
ACHIEVED, NOTHING = NEVER_LEARNS.threshold("achieved"), NEVER_LEARNS.threshold("warning")
"""Shares of routes or successes: enough to say that something was learned, and too little for it."""


_NO_REWARD = (
    "Every return is 0: random exploration never reached the reward, so there is nothing to learn from. Or "
    "the reward is computed wrongly and is always 0."
)
_NO_EFFECT = (
    "Nothing that the updates do shows in the return. The usual reasons: the reward does not depend on what "
    "the policy can change, or is too rare to be met; exploration is too small; the actor is saturated or "
    "gets no gradient; the observation lacks what the task needs; the rates are too low, or far too high."
)
_SIMPLIFY = (
    "Check first that the task can be solved: a scripted policy must get a clearly better return than random "
    "actions. Then train on a simpler version (shorter route, denser reward, no other traffic) until the "
    "return rises, and go back one step at a time."
)
_COMPARE = "Compare the return with that of random actions and with the best that the task allows."


@dataclass(frozen=True)
class _Level:
    """What the agent achieves at the end, as a share of what could be achieved."""

    series: Series
    value: float


def check(run: Run) -> Outcome:
    achieved = _achieved(run)
    if achieved is not None and achieved.value >= ACHIEVED:
        return Clear(f"{achieved.series.tag} ends at {percent(achieved.value)}")
    s = _returns(run)
    if s is None:
        if achieved is None:
            return Skipped(
                f"fewer than {LEAST} returns and fewer than {LEAST_EVALUATIONS} evaluations are logged",
                run.tags_of(episodes.RETURN) + run.tags_of(evaluation.RETURN),
                "Log the return of every finished episode.",
            )
        s = achieved.series
    steps = run.env_steps(s)
    first_step = float(steps[0])
    if first_step > 0.2 * max(run.last_step, float(np.nanmax(steps, initial=1.0))):
        return Clear(
            f"{s.tag} begins at step {first_step:,.0f}: the beginning of training is not in the file"
        )
    harder = lessons(run)
    stretches = [s] if harder is None else [s, *harder.parts(run, s)]
    how = next((text for stretch in stretches if (text := learned(stretch))), "")
    nothing = achieved is not None and achieved.value < NOTHING and not _rises(achieved.series)
    ended_with_nothing = nothing and _ended(run) and len(s) >= LEAST
    if not ended_with_nothing:
        too_early = _too_early(run, s) or _too_few(run, s)
        if too_early or how:
            return Clear(too_early or how)
    return _finding(run, s, achieved)


def _returns(run: Run) -> Series | None:
    for s, least in ((skill(run), LEAST), (run.get(evaluation.RETURN), LEAST_EVALUATIONS)):
        if s is not None and (len(s) >= least or (len(s) >= 10 and repeat_at_end(s).from_the_start)):
            return s
    reward = unnamed_reward(run)
    constant = reward is not None and len(reward) >= 10 and repeat_at_end(reward).from_the_start
    return reward if constant else None


def _achieved(run: Run) -> _Level | None:
    evaluated = (evaluation.SUCCESS, evaluation.ROUTE_COMPLETION)
    for signal in (*evaluated, episodes.SUCCESS, episodes.ROUTE_COMPLETION):
        s = run.get(signal)
        if s is None or s.highest is None:
            continue
        if signal in evaluated or len(s) >= LEAST:
            value = level(s.tail(0.25, 1).value, s.value)
            best = _Level(s, value / 100 if s.highest.value > 1.5 else value)
            if signal is evaluation.SUCCESS and best.value == 0:
                continue  # how far it gets says more
            return best
    return None


def _ended(run: Run) -> bool:
    planned = run.hyper("steps")
    return run.status.get("state") == "finished" or (
        planned is not None and run.last_step >= 0.99 * planned.value
    )


def _too_early(run: Run, s: Series) -> str:
    """Why it is too early to say anything; empty when it is not."""
    if run.axis not in ("step", "episode") and len(s) >= MANY:
        return ""  # rows and epochs are no steps, and so many evaluations or episodes are enough
    if run.axis not in ("step", "episode"):
        return f"{len(s)} values are too few to say whether the agent learns"
    least = EARLY_FINISHED if _ended(run) else EARLY
    if run.last_step < least and (run.episodes or 0) < 200:
        return f"{run.last_step:,} steps are too few to say whether the agent learns"
    planned = run.hyper("steps")
    if planned is not None and run.last_step < 0.1 * planned.value:
        return f"{run.last_step:,} of {planned.value:,.0f} steps are too few to say whether the agent learns"
    return ""


def _too_few(run: Run, s: Series) -> str:
    """Why returns that do not rise by more than chance say nothing; empty where they do."""
    lengths = run.get(episodes.LENGTH)
    if "last 100 episodes" in run.note_of(s) and lengths is not None and run.axis == "step":
        finished = run.last_step / max(lengths.median(), 1.0)
        if finished < 100 * LEAST_MEANS:
            return f"{s.tag} is a mean over 100 episodes, and only about {finished:,.0f} were finished"
    first, _, last = parts(s.value, 3)
    if len(s) < FEW and level(last, s.value) - level(first, s.value) > scatter(first):
        return f"{s.tag} rises, and {len(s)} values are too few to tell that from chance"
    return ""


def _rises(s: Series) -> bool:
    return len(s) >= 3 and trend(s.step, s.value).rising


def learned(s: Series) -> str:
    """How the returns got better by more than chance, in figures; empty when they did not."""
    found = rise(s.value)
    if found is None:
        return ""
    last = level(s.tail(0.25, 3).value, s.value)
    if last < (found.before + found.after) / 2:
        return f"{s.tag} rose from {number(found.before)} to {number(found.after)}"
    first = level(s.head(0.1, 3).value, s.value)
    first = first if first < last else found.before
    return f"{s.tag} rises from {number(first)} to {number(last)}"


def _finding(run: Run, s: Series, achieved: _Level | None) -> Finding:
    v = s.value
    thirds = levels(parts(v, 3), v)
    unit = s.axis if s.axis in ("episode", "epoch", "update", "row") else "step"
    constant = repeat_at_end(s).from_the_start
    if constant:
        text = (
            f"{s.tag} is {number(float(v[0]))} on all {len(v)} rows, {unit} {int(s.step[0]):,} to "
            f"{int(s.step[-1]):,}"
        )
    else:
        text = (
            f"{s.tag}: {level_name(v)} of the thirds {', '.join(number(x) for x in thirds)} over {len(v)} "
            f"values up to {unit} {int(s.step[-1]):,}"
        )
    evidence = [Evidence(s.tag, s.last.step, s.last.value, text)]
    if achieved is not None:
        last = achieved.series.last
        reached = f"{achieved.series.tag} ends at {achieved.value:.1%}"
        evidence.append(Evidence(achieved.series.tag, last.step, last.value, reached))
        text = f"{reached}; {text}"
    zero = constant and v[0] == 0
    began = beginning(run)
    random = _no_better_than_random(run, s)
    if random is not None:
        evidence.append(random)
    elif began is not None and not zero:
        evidence.append(began.evidence)
    excuse = ""
    if achieved is None and not zero:
        excuse = full_reward(run, s)
        steady = not constant and not is_rating(s) and thirds[2] > 0 and spread(v) < STEADY * thirds[2]
        if not excuse and random is None:
            excuse = _excuse(began, steady)
        if not excuse and (harder := lessons(run)) is not None:
            excuse = (
                f"{harder}: the task is harder than before, and returns of two levels cannot be compared."
            )
    if excuse:
        title, cause, fix = "The return is the same from start to end", excuse, _COMPARE
    elif zero:
        title, cause, fix = "The agent never met a reward", _NO_REWARD, _SIMPLIFY
    else:
        title, cause, fix = "The agent does not learn", _NO_EFFECT, _SIMPLIFY
    return Finding(
        "never-learns",
        INFO if excuse else WARNING,
        title,
        evidence,
        cause,
        fix,
        0.5 if excuse else 0.95 if constant else 0.85,
        headline=f"{title}: {text}",
        plots=((s.tag,),),
    )


def _excuse(began: Beginning | None, steady: bool) -> str:
    """Why returns that stay the same may be right: what the log says of the agent at its beginning."""
    if began is not None and began.trained:
        return "An earlier run trained this agent, and it keeps the level that it came with."
    if began is None and steady:
        return (
            "Returns as even as these come from a policy that was good already when the log begins, or from "
            "one that never changes. The log does not say which."
        )
    return ""


def _no_better_than_random(run: Run, s: Series) -> Evidence | None:
    """The returns since learning began are no better than those of random actions before it."""
    split = run.split_at_policy(s)
    if split is None:
        return None
    before, after = levels(split, s.value)
    text = (
        f"{s.tag}: {number(before)} over the {len(split[0])} episodes of random actions, "
        f"{number(after)} over the {len(split[1])} since"
    )
    return Evidence(s.tag, int(run.env_steps(s)[len(split[0])]), after, text)


RULE = Rule(
    id="never-learns",
    title="Agent that does not learn",
    statement=(
        "An agent that learns is better later than at the start. No part of the returns lies above an "
        "earlier one by more than chance, for returns that scatter and follow one another as these do; or a "
        "finished run ends with next to no success or route completion. It is only noted where the returns "
        "may be right as they are: the agent was trained before, or the task gives no more."
    ),
    check=check,
    how="Log the return of every finished episode, and the success rate or route completion.",
    order=27,
)
