"""The actor's head gets almost nothing of a jointly clipped gradient."""

from __future__ import annotations

import numpy as np

from ..algorithm import ACTOR_THROUGH_Q
from ..measures import clips, is_summed
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, number
from ..run import Run
from ..signals import gradients
from ..signals.conditions import HEAD_STARVED

STARVED = HEAD_STARVED.threshold("warning")
"""Share of the encoder's norm; below it the head hardly contributes to the clip."""


def check(run: Run) -> Outcome:
    head = run.get(gradients.BEFORE["actor_head"], gradients.AFTER["actor_head"])
    encoder = run.get(gradients.BEFORE["actor_encoder"], gradients.AFTER["actor_encoder"])
    assert head is not None and encoder is not None
    share = head.value / np.maximum(encoder.at(head.step), 1e-30)
    share = share[np.isfinite(share)]
    if not len(share):
        return Clear("head and encoder are not logged at the same steps")
    late = float(np.median(share[-max(2, len(share) // 4) :]))
    clip = next((c for c in clips(run) if c.who == "actor"), None)
    if clip is None:
        limit_text, active = "", True
    else:
        before = run.get(gradients.BEFORE["actor_encoder"])
        level = before.tail(0.25, 2).median() if before is not None else encoder.tail(0.25, 2).median()
        active = level > clip.limit * (1 if before is not None else 0.95) or is_summed(clip)
        limit_text = f"; the encoder alone fills the joint clip of {clip.limit:g}"
    if late >= STARVED or not active:
        return Clear(
            f"the head's gradient is {number(late)} of the encoder's"
            + ("" if active else ", and the clip is not active")
        )
    share_text = f" ({number(late)} of it)" if late else ""
    return Finding(
        "head-starved",
        WARNING,
        "The actor's head gets almost no gradient",
        [
            Evidence(
                head.tag,
                head.last.step,
                head.last.value,
                f"the head's gradient is {number(head.last.value)} beside the encoder's "
                f"{number(float(encoder.last.value))}{share_text}{limit_text}",
            )
        ],
        "Encoder and head are clipped together. The encoder's gradient is so much larger that the clip "
        "shrinks the head's to almost nothing.",
        "Clip encoder and head separately, or find what makes the encoder's gradient so large.",
        0.7,
        onset=int(head.step[0]),
        plots=((head.tag, encoder.tag),),
    )


RULE = Rule(
    id="head-starved",
    title="Starved actor head",
    statement=(
        "A clip over several parts shrinks all of them by the same factor. Where it acts and the head's "
        "norm is less than a hundredth of the encoder's, almost nothing of the head's gradient is left."
    ),
    check=check,
    requires=(ACTOR_THROUGH_Q,),
    needs=(
        (gradients.AFTER["actor_head"], gradients.BEFORE["actor_head"]),
        (gradients.AFTER["actor_encoder"], gradients.BEFORE["actor_encoder"]),
    ),
    how="Log the gradient norms of the actor's encoder and head separately, before the clip.",
    order=22,
)
