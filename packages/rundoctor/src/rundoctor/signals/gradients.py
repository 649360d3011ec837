"""Gradients: true L2 norms per group of parameters, before and after the clip.

An optimiser's groups are clipped together.  Groups: the actor's encoder and head, the critic's encoder
and head.
"""

from __future__ import annotations

from .model import Signal, aliases

GROUPS = ("actor_encoder", "actor_head", "critic_encoder", "critic_head")
OLD_NAMES = {
    "actor_encoder": "actor_cnn",
    "actor_head": "actor_mlp",
    "critic_encoder": "critic_cnn",
    "critic_head": "critic_mlp",
}
"""Names of the groups in older tags, which ``gradients/*_norm`` keeps."""
WHO = ("actor", "critic")


def _spoken(group: str) -> str:
    who, part = group.split("_")
    return f"{who}'s {part}"


BEFORE = {
    group: Signal(
        f"grad_{group}_before",
        f"gradients/{group}_norm_before_clip",
        f"L2 norm of the gradient of the {_spoken(group)} before the clip",
        "reward",
        healthy="not 0, and of a steady size",
    )
    for group in GROUPS
}
AFTER = {
    group: Signal(
        f"grad_{group}",
        f"gradients/{group}_norm_after_clip",
        f"L2 norm of the gradient of the {_spoken(group)} after the clip",
        "reward",
        healthy="at most the clip's limit",
        also=(f"gradients/{OLD_NAMES[group]}_norm",),
    )
    for group in GROUPS
}
TOTAL = {
    who: Signal(
        f"grad_{who}_total",
        "",
        f"norm of the whole gradient of the {who}; whether before or after a clip depends on the system",
        "reward",
        aliases=aliases(
            f"{who}_grad_norm",
            f"train/{who}_grad_norm",
            f"losses/{who}_grad_norm",
            f"{who}/grad_norm",
            f"grad_norm/{who}",
            *(("Grads (unclipped)/Mean",) if who == "critic" else ()),
        ),
    )
    for who in WHO
}
CLIP_RATIO = {
    who: Signal(
        f"clip_ratio_{who}",
        f"gradients/{who}_clip_ratio",
        f"norm of the {who}'s whole gradient before the clip, in units of the clip's limit",
        healthy="below 100; above 1 the clip acts",
    )
    for who in WHO
}
ENCODER_SHARE = {
    who: Signal(
        f"encoder_share_{who}",
        f"gradients/{who}_encoder_share",
        f"the encoder's part of the {who}'s squared gradient norm before the clip, 0 to 1",
    )
    for who in WHO
}
STATE_PATH = Signal(
    "grad_state_path",
    "gradients/actor_state_path_norm",
    "norm of the gradient that reaches the actor through the critic's state input",
    "reward",
    "last",
    "exactly 0; anything else is a gradient leak",
)
ACTION_PATH = Signal(
    "grad_action_path",
    "gradients/actor_action_path_norm",
    "norm of the gradient of Q that reaches the actor through its action, penalties left out",
    "reward",
    "last",
    "above 0; exactly 0 means that the critic does not teach the actor, whatever else moves it",
)
