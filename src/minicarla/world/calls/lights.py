"""Traffic lights, street lights."""

from __future__ import annotations

from typing import Any

from minicarla.wire import structs
from minicarla.world.calls.registry import PARTIAL, Call, absent, procedure


@procedure()
def set_traffic_light_state(call: Call, actor_id: int, state: int) -> None:
    call.world.find_light(actor_id)


@procedure()
def reset_all_traffic_lights(call: Call) -> None:
    return


@procedure()
def get_group_traffic_lights(call: Call, actor_id: int) -> list[int]:
    return []


@procedure(PARTIAL, "empty: lights' heads have no boxes")
def get_light_boxes(call: Call, actor_id: int) -> list[structs.BoundingBox]:
    return []


@procedure(PARTIAL, "empty: there are no street lights")
def query_lights_state(call: Call, client: str) -> list[Any]:
    return []


absent("lights", "there are no street lights", "update_lights_state", "update_day_night_cycle", void=True)
