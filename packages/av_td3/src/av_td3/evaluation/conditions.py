"""Under which conditions an evaluation was driven, in words.

Conditions are what ``av-td3 evaluate`` writes beside the figures.  Files of earlier versions say less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PLACES = {"anywhere": "", "near": " near its start", "mixed": " near its start in every second episode"}
"""Words for ``env.simulator.npc_placement`` after "20 vehicles"."""
_DRIVERS = {"server": ", driven by the server", "traffic_manager": ", driven by the Traffic Manager"}
"""Words for ``env.simulator.traffic``, where that is not left to the simulator."""
_TOLD = {
    "env.weather",
    "evaluation.seed",
    *(
        f"env.simulator.{key}"
        for key in ("map", "npc", "npc_placement", "npc_speed", "traffic", "address", "command")
    ),
}
"""Settings of which the other conditions tell."""


def traffic_in_words(conditions: Mapping[str, Any]) -> str:
    """The other vehicles: how many, where, how fast, and who drove them."""
    traffic: Mapping[str, Any] = conditions.get("traffic") or {}
    wanted, there = traffic.get("wanted", 0), traffic.get("there")
    text = f"{wanted} other vehicles"
    if there and there[0] < wanted:
        count = f"{there[0]} to {there[-1]}" if there[0] < there[-1] else str(there[0])
        text = f"{count} other vehicles ({wanted} were asked for: the map has no room for more)"
    if wanted:
        text += PLACES.get(traffic.get("placement", "anywhere"), "")
        speed = traffic.get("speed")
        text += "" if speed is None else f" at {speed[0]:.0%} to {speed[1]:.0%} of the speed limit"
        text += _DRIVERS.get(traffic.get("driven_by", "auto"), "")
    return text


def other_settings(conditions: Mapping[str, Any]) -> list[str]:
    """What was changed for the evaluation, as ``section.key=value``, beyond what other conditions tell."""
    return [text for text in conditions.get("settings") or () if text.partition("=")[0] not in _TOLD]
