"""Traffic lights, street lights."""

from __future__ import annotations

from typing import Any

from minicarla.traffic.lights import Controller
from minicarla.wire import structs
from minicarla.world.calls.registry import PARTIAL, Call, absent, procedure
from minicarla.world.outlet import CarlaError


@procedure()
def set_traffic_light_state(call: Call, actor_id: int, state: int) -> None:
    light = call.actors.find_light(actor_id).light
    try:
        call.episode.lights.set_state(light.index, state)
    except ValueError as error:
        raise CarlaError(str(error)) from None


@procedure()
def set_traffic_light_green_time(call: Call, actor_id: int, seconds: float) -> None:
    _controller(call, actor_id).green_time = _time(seconds)


@procedure()
def set_traffic_light_yellow_time(call: Call, actor_id: int, seconds: float) -> None:
    _controller(call, actor_id).yellow_time = _time(seconds)


@procedure()
def set_traffic_light_red_time(call: Call, actor_id: int, seconds: float) -> None:
    _controller(call, actor_id).red_time = _time(seconds)


def _controller(call: Call, actor_id: int) -> Controller:
    return call.episode.lights.controller_of(call.actors.find_light(actor_id).light)


def _time(seconds: float) -> float:
    if not 0.0 <= seconds <= 1e9:
        raise CarlaError(f"a traffic light cannot stay in a state for {seconds} seconds")
    return seconds


@procedure(PARTIAL, "stops the time of the light's whole group")
def freeze_traffic_light(call: Call, actor_id: int, freeze: bool) -> None:
    call.episode.lights.freeze(freeze, call.actors.find_light(actor_id).light.group)


@procedure()
def freeze_all_traffic_lights(call: Call, frozen: bool) -> None:
    call.episode.lights.freeze(frozen)


@procedure()
def reset_traffic_light_group(call: Call, actor_id: int) -> None:
    call.episode.lights.reset_group(call.actors.find_light(actor_id).light.group)


@procedure()
def reset_all_traffic_lights(call: Call) -> None:
    call.episode.lights.reset()


@procedure()
def get_group_traffic_lights(call: Call, actor_id: int) -> list[int]:
    group = call.actors.find_light(actor_id).light.group
    return [call.episode.light_ids[index] for index in call.episode.lights.groups[group].members()]


@procedure()
def get_light_boxes(call: Call, actor_id: int) -> list[structs.BoundingBox]:
    """The box of each head, in the world frame; lights here have one head."""
    return [call.actors.find_light(actor_id).head_box()]


@procedure(PARTIAL, "always empty: there are no street lights")
def query_lights_state(call: Call, client: str) -> list[Any]:
    return []


absent("lights", "there are no street lights", "update_lights_state", "update_day_night_cycle", void=True)
