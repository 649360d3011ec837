"""What of an agent's configuration an evaluation or a drive changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from av_td3.config import Config, ConfigError, Weather, overridden


class Changes(TypedDict, total=False):
    """Settings that replace those that the agent was trained with; None, or no such key: as there."""

    npc: int | None
    """Number of other vehicles."""
    map_: str | None
    address: str | None
    """``host:port`` of a CARLA server."""
    device: str | None
    """What torch computes on."""
    weather: Weather | None
    settings: Sequence[str]
    """Any others, ``section.key=value``."""


def changed(
    config: Config,
    *,
    npc: int | None = None,
    map_: str | None = None,
    address: str | None = None,
    device: str | None = None,
    weather: Weather | None = None,
    settings: Sequence[str] = (),
) -> Config:
    """The run's configuration for evaluations with what the call changes, validated; of one environment.

    Raises:
        ConfigError: a value is out of its range, or the agent cannot drive with it.
    """
    tree = config.for_evaluation().model_dump()
    simulator = {"npc": npc, "map": map_, "address": address}
    tree["env"]["simulator"] |= {key: value for key, value in simulator.items() if value is not None}
    # Faults of the simulator that a training run was given are no part of an evaluation.
    tree["env"]["simulator"]["faults"] = None
    if address is not None:  # a server that runs takes the place of one that would be started
        tree["env"]["simulator"]["command"] = None
    tree["train"] |= {"envs": 1, "maps": []}
    if weather is not None:
        tree["env"]["weather"] = weather
    if device is not None:
        tree["train"]["device"] = device
    given = overridden(tree, settings).for_evaluation()
    why_not = config.env.why_not_driven_in(given.env)
    if why_not:
        raise ConfigError(f"env.{why_not}")
    return given
