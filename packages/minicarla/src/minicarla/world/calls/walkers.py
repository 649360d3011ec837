"""Walkers."""

from __future__ import annotations

from minicarla.wire import structs
from minicarla.world.calls.registry import Call, absent, procedure


@procedure()
def apply_control_to_walker(call: Call, actor_id: int, control: structs.WalkerControl) -> None:
    call.episode.walkers.apply(actor_id, control)


def apply_walker_state(call: Call, actor_id: int, transform: structs.Transform, speed: float) -> None:
    """The command of that name, by which a client moves the walkers of the crowd that it simulates."""
    call.episode.walkers.lead(actor_id, transform.pose, speed)


absent("walkers", "walkers have no bones", "get_bones_transform", "get_pose_from_animation")
absent("walkers", "walkers have no bones", "set_bones_transform", "blend_pose", void=True)
