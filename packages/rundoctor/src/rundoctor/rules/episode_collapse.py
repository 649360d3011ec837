"""Episodes become shorter and shorter without getting better."""

from __future__ import annotations

from dataclasses import replace

from ..chance import fall, rise
from ..lessons import of_one_level
from ..model import CRITICAL, INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, count, number
from ..run import Run
from ..series import Series
from ..signals import episodes, evaluation
from ..signals.conditions import EPISODE_COLLAPSE
from ..stats import coarse, level, levels, parts, separation, settles_below, trend
from .reward_degrading import LEAST

HALVED, GONE = EPISODE_COLLAPSE.threshold("warning"), EPISODE_COLLAPSE.threshold("critical")


def check(run: Run) -> Outcome:
    lengths = run.get(episodes.LENGTH)
    assert lengths is not None
    if len(lengths) < LEAST:
        return Skipped(
            f"only {count(len(lengths), 'episode')} logged", (lengths.tag,), "Let the run finish 20 episodes."
        )
    judged = of_one_level(run, lengths, LEAST)
    found = _judge(run, judged.series)
    if judged.mixed and isinstance(found, Finding):
        cause = f"{judged.note}: the task is harder than before, and fails sooner."
        return replace(
            found, severity=INFO, cause=cause, fix="Look again when the new level has been trained."
        )
    return found


def _judge(run: Run, lengths: Series) -> Clear | Finding:
    thirds = parts(lengths.value, 3)
    first, _, last = levels(thirds, lengths.value)
    delta, p = separation(thirds[0], thirds[2])
    text = f"{lengths.tag}: {number(first)} steps over the first third, {number(last)} over the last"
    if last > HALVED * first or delta > -0.5 or p > 1e-3:
        return _below_random(run, lengths) or Clear(text)
    returns = run.get(episodes.RETURN)
    if returns is not None and len(returns) >= LEAST:
        early, _, late = levels(parts(returns.value, 3), returns.value)
        if late >= early:
            return Clear(f"{text}, but the return does not fall: shorter is better here")
    evaluated = run.get(evaluation.RETURN)
    if evaluated is not None and rise(evaluated.value) is not None and fall(evaluated.value) is None:
        return Clear(f"{text}, but {evaluated.tag} rises: shorter is better here")
    completion = run.get(episodes.ROUTE_COMPLETION, episodes.SUCCESS)
    if (
        completion is not None
        and len(completion) >= LEAST
        and trend(completion.step, completion.value).rising
    ):
        return Clear(f"{text}, but {completion.tag} rises")
    i = settles_below(lengths.value, (first + last) / 2, mean=coarse(lengths.value))
    return Finding(
        "episode-collapse",
        CRITICAL if last < GONE * first else WARNING,
        "Episodes collapse",
        [
            Evidence(lengths.tag, lengths.last.step, lengths.last.value, text),
            Evidence(
                lengths.tag,
                int(lengths.step[i]),
                float(lengths.value[i]),
                f"they stay short from {'episode' if lengths.axis == 'episode' else 'step'} "
                f"{int(lengths.step[i]):,} on",
            ),
        ],
        "The policy ends its episodes sooner and sooner (a crash, leaving the road), so the replay buffer "
        "holds ever more first steps of episodes and little else.",
        f"Look at what ends the episodes ({episodes.TERMINATION.tag}) and watch one. Then look for the "
        "reason among the other findings: a saturated actor, a gradient leak, a reward that is never "
        "reached.",
        0.85,
        onset=run.env_step(lengths, i),
        plots=((lengths.tag,),),
    )


def _below_random(run: Run, lengths: Series) -> Finding | None:
    """Episodes are far shorter than those of the random actions before."""
    split = run.split_at_policy(lengths)
    if split is None:
        return None
    random, policy = split
    before, after = levels(split, lengths.value)
    delta, p = separation(random, policy)
    if after > HALVED * before or delta > -0.6 or p > 1e-3:
        return None
    returns = run.get(episodes.RETURN)
    if returns is not None:
        other = run.split_at_policy(returns)
        if other is not None and level(other[1], returns.value) >= level(other[0], returns.value):
            return None
    return Finding(
        "episode-collapse",
        INFO,
        "Episodes are shorter than with random actions",
        [
            Evidence(
                lengths.tag,
                lengths.last.step,
                after,
                f"{lengths.tag}: {number(before)} steps over the {len(random)} episodes of random "
                f"actions, {number(after)} over the {len(policy)} since",
            )
        ],
        "For a while after learning begins a policy may fail sooner than random actions do. It must not "
        "stay that way.",
        "Look at what ends the episodes and at the share of actions at their limits. If nothing is odd, "
        "train on and look again.",
        0.8,
        onset=int(run.env_steps(lengths)[len(random)]),
        plots=((lengths.tag,),),
    )


RULE = Rule(
    id="episode-collapse",
    title="Collapsing episodes",
    statement=(
        "Episodes in the last third of the run are less than half as long as in the first third, and "
        "neither the return nor the success rate improves meanwhile."
    ),
    check=check,
    needs=(episodes.LENGTH,),
    how="Log the length of every finished episode.",
    order=23,
)
