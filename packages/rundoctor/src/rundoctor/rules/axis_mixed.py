"""Series on different x-axes."""

from __future__ import annotations

from ..model import INFO, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import episodes


def check(run: Run) -> Outcome:
    if not run.series:
        return Skipped("no series")
    if run.axis != "step" and len({s.axis for s in run.series.values()}) == 1:
        return Clear(f"all {len(run.series)} series are on one axis, which does not count steps")
    others = [s for s in run.series.values() if s.axis != "step"]
    if not others:
        return Clear(f"all {len(run.series)} series are on one axis that ends at {run.last_step:,}")
    episode = [s for s in others if s.axis == "episode"]
    evidence = []
    if episode:
        widest = max(episode, key=lambda s: s.last.step)
        evidence.append(
            Evidence(
                widest.tag,
                widest.last.step,
                float(widest.last.value),
                f"{len(episode)} series ({', '.join(sorted(s.tag for s in episode)[:4])}"
                + (", ..." if len(episode) > 4 else "")
                + f") are indexed by episode and end at {widest.last.step:,}; the run made {run.amount}"
                + (f" in {run.episodes or widest.last.step:,} episodes" if run.axis == "step" else ""),
            )
        )
        lengths = run.get(episodes.LENGTH)
        if lengths is not None and lengths.axis == "episode" and not lengths.folded:
            total = float(lengths.value.sum())
            evidence.append(
                Evidence(
                    lengths.tag,
                    lengths.last.step,
                    total,
                    f"check: the {lengths.count:,} episode lengths add up to {number(total)} steps",
                )
            )
    unknown = [s for s in others if s.axis == "unknown"]
    if unknown:
        s = unknown[0]
        evidence.append(
            Evidence(
                s.tag,
                s.last.step,
                float(s.last.value),
                f"{len(unknown)} series ({', '.join(x.tag for x in unknown[:4])}) are on another axis still "
                f"(last step {s.last.step:,}; jumps back {s.rewind_count} times)",
            )
        )
    return Finding(
        "axis-mixed",
        INFO,
        "Series are logged on different x-axes",
        evidence,
        "Some scalars are written with the episode number (or another counter) as their step. Read as "
        "environment steps they make the run look far shorter than it was.",
        "Pass the environment step to every add_scalar call. This report has told the axes apart, so its "
        "other findings hold.",
        0.95 if len(evidence) > 1 else 0.8,
    )


RULE = Rule(
    id="axis-mixed",
    title="Mixed x-axes",
    statement=(
        "Series that are logged against environment steps all stand at the same step at the same time of "
        "day. A series that does not, and whose step grows by one from point to point, is logged against "
        "the number of the episode."
    ),
    check=check,
    order=29,
)
