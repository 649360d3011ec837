"""CARLA's reports about a recording, in the words and columns of its ``CarlaRecorderQuery``.

Programs read these texts (scenario_runner's metrics do).  So locations are in Unreal's centimetres,
rotations in its order (roll, pitch, yaw), frames are counted from 1 and their times from 0.

Each function raises what :class:`~minicarla.world.recording.file.Recording` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minicarla.wire.structs import VehiclePhysicsControl
from minicarla.world.recording.file import Details, Recording, Spawned, Tick, actor_type

_NOBODY = 0xFFFFFFFF
"""The id that CARLA gives to whatever is not an actor."""

_VEHICLE, _WALKER = 1, 2
_CATEGORIES = "ovwtha"
"""Letters of the kinds of actor: other, vehicle, walker, traffic light."""

_LAMPS = {
    "Position": 1 << 0,
    "LowBeam": 1 << 1,
    "HighBeam": 1 << 2,
    "Brake": 1 << 3,
    "RightBlinker": 1 << 4,
    "LeftBlinker": 1 << 5,
    "Reverse": 1 << 6,
    "Interior": 1 << 8,
    "Fog": 1 << 7,
    "Special1": 1 << 9,
    "Special2": 1 << 10,
}
"""Bits of ``carla.VehicleLightState``, in the order in which CARLA lists them."""


def describe(name: str, everything: bool) -> str:
    """``Client.show_recorder_file_info``: spawned and destroyed actors, and collisions.

    everything: also positions and the state of all things, in every frame.
    """
    return _report(name, lambda recording: _file_info(recording, everything))


def collisions(name: str, first: str, second: str) -> str:
    """``Client.show_recorder_collisions``: when a collision began, and between whom.

    first, second: what the two must be: h(ero), v(ehicle), w(alker), t(raffic light), o(ther), a(ny).
    """
    return _report(name, lambda recording: _collisions(recording, first, second))


def blocked(name: str, min_time: float, min_distance: float) -> str:
    """``Client.show_recorder_actors_blocked``: who stood still, longest first.

    An actor is blocked while it moves less than ``min_distance`` centimetres for at least ``min_time``
    seconds.
    """
    return _report(name, lambda recording: _blocked(recording, min_time, min_distance))


def _report(name: str, body: Callable[[Recording], Iterable[str]]) -> str:
    """Head, body and foot of a report."""
    recording = Recording(name)
    head = ["Version: 1", f"Map: {recording.map}", f"Date: {recording.date}", ""]
    foot = ["", f"Frames: {len(recording.ticks)}", f"Duration: {recording.duration:g} seconds"]
    return "\n".join([*head, *body(recording), *foot, ""])


def _centimetres(metres: Iterable[float]) -> str:
    return _triple(100.0 * float(part) for part in metres)


def _triple(numbers: Iterable[float]) -> str:
    return "({:g}, {:g}, {:g})".format(*numbers)


class _Cast(dict[int, Spawned]):
    """The actors that were spawned so far, by id."""

    def enter(self, tick: Tick) -> None:
        self.update({actor.id: actor for actor in tick.spawned})

    def blueprint(self, actor_id: int) -> str:
        return self[actor_id].blueprint if actor_id in self else ""

    def type(self, actor_id: int) -> int:
        return actor_type(self.blueprint(actor_id))

    def is_hero(self, actor_id: int) -> bool:
        return actor_id in self and ("role_name", "hero") in self[actor_id].attributes


# ---------------------------------------------------------------------- show_recorder_file_info


def _file_info(recording: Recording, everything: bool) -> Iterator[str]:
    cast = _Cast()
    collision = 0  # number of the next one
    for frame, tick in enumerate(recording.ticks, 1):
        cast.enter(tick)
        rows = list(_events(tick))
        for a, b, _ in tick.contacts:
            rows.append(f" Collision id {collision} between {_party(a, cast)} with {_party(b, cast)}")
            collision += 1
        if everything:
            rows += _state(tick, cast)
        if rows:
            yield f"Frame {frame} at {tick.elapsed - recording.times[0]:g} seconds"
            yield from rows


def _party(actor_id: int, cast: _Cast) -> str:
    if actor_id < 0:
        return str(_NOBODY)
    return f"{actor_id} (hero) " if cast.is_hero(actor_id) else str(actor_id)


def _events(tick: Tick) -> Iterator[str]:
    for actor in tick.spawned:
        kind = f"{actor.blueprint} ({actor_type(actor.blueprint)})"
        yield f" Create {actor.id}: {kind} at {_centimetres(actor.pose[:3])}"
        for key, value in actor.attributes:
            yield f"  {key} = {value}"
    for actor_id in tick.destroyed:
        yield f" Destroy {actor_id}"
    for actor in tick.spawned:
        if actor.parent:
            yield f" Parenting {actor.id} with {actor.parent} (parent)"


def _state(tick: Tick, cast: _Cast) -> Iterator[str]:
    types = [cast.type(int(actor_id)) for actor_id in tick.moving["id"]]
    vehicles = [row for row, kind in zip(tick.moving, types, strict=True) if kind == _VEHICLE]
    walkers = [row for row, kind in zip(tick.moving, types, strict=True) if kind == _WALKER]

    yield f" Positions: {len(tick.moving)}"
    for row in tick.moving:
        pitch, yaw, roll = row["rotation"]
        yield (
            f"  Id: {row['id']} Location: {_centimetres(row['position'])} "
            f"Rotation {_triple((roll, pitch, yaw))}"
        )
    yield f" State traffic lights: {len(tick.lights)}"
    for row in tick.lights:
        yield (
            f"  Id: {row['id']} state: {row['state']} frozen: {int(row['frozen'])} "
            f"elapsedTime: {row['elapsed']:g}"
        )
    yield f" Vehicle animations: {len(vehicles)}"
    for row in vehicles:
        throttle, steer, brake = row["control"]
        yield (
            f"  Id: {row['id']} Steering: {steer:g} Throttle: {throttle:g} Brake {brake:g} "
            f"Handbrake: {int(row['hand_brake'])} Gear: {row['gear']}"
        )
    yield f" Walker animations: {len(walkers)}"
    for row in walkers:
        yield f"  Id: {row['id']} speed: {row['walk_speed']:g}"
    yield f" Vehicle light animations: {len(vehicles)}"
    for row in vehicles:
        lamps = [name for name, bit in _LAMPS.items() if int(row["lights"]) & bit]
        yield f"  Id: {row['id']} {' '.join(lamps) or 'None'}"
    if tick.details is not None:
        yield from _additional(tick.details, [*vehicles, *walkers])


def _additional(details: Details, dynamic: list[np.void]) -> Iterator[str]:
    """What a recording with ``additional_data`` holds besides."""
    yield f" Dynamic actors: {len(dynamic)}"
    for row in dynamic:
        yield (
            f"  Id: {row['id']} linear_velocity: {_triple(row['velocity'])} "
            f"angular_velocity: {_triple(row['angular_velocity'])}"
        )
    yield from _boxes("Actor bounding boxes", details.boxes)
    if details.volumes:
        yield from _boxes("Actor trigger volumes", details.volumes)
    yield f" Current platform time: {details.platform_time:g}"
    if details.physics:
        yield f" Physics Control events: {len(details.physics)}"
        for actor_id, control in details.physics:
            yield f"  Id: {actor_id}"
            yield from _physics_control(control)
    if details.light_times:
        yield f" Traffic Light time events: {len(details.light_times)}"
        for actor_id, (green, yellow, red) in details.light_times:
            yield f"  Id: {actor_id} green_time: {green:g} yellow_time: {yellow:g} red_time: {red:g}"


def _boxes(title: str, boxes: list[tuple[int, list[float]]]) -> Iterator[str]:
    yield f" {title}: {len(boxes)}"
    for actor_id, box in boxes:
        yield f"  Id: {actor_id} origin: {_centimetres(box[:3])} extension: {_centimetres(box[3:])}"


def _physics_control(control: VehiclePhysicsControl) -> Iterator[str]:
    yield f"   max_rpm = {control.max_rpm:g}"
    yield f"   MOI = {control.moi:g}"
    for name in (
        "damping_rate_full_throttle",
        "damping_rate_zero_throttle_clutch_engaged",
        "damping_rate_zero_throttle_clutch_disengaged",
    ):
        yield f"   {name} = {getattr(control, name):g}"
    yield f"   use_gear_auto_box = {'true' if control.use_gear_autobox else 'false'}"
    for name in ("gear_switch_time", "clutch_strength", "final_ratio", "mass", "drag_coefficient"):
        yield f"   {name} = {getattr(control, name):g}"
    yield f"   center_of_mass = {_triple(control.center_of_mass)}"
    for name in ("torque_curve", "steering_curve"):
        yield f"   {name} =" + "".join(f" ({point.x:g}, {point.y:g})" for point in getattr(control, name))
    yield "   forward_gears:"
    for number, gear in enumerate(control.forward_gears):
        ratios = f"ratio {gear.ratio:g} down_ratio {gear.down_ratio:g} up_ratio {gear.up_ratio:g}"
        yield f"    gear {number}: {ratios}"
    yield "   wheels:"
    for number, wheel in enumerate(control.wheels):
        figures = " ".join(
            f"{name} {getattr(wheel, name):g}"
            for name in (
                "tire_friction",
                "damping_rate",
                "max_steer_angle",
                "radius",
                "max_brake_torque",
                "max_handbrake_torque",
            )
        )
        yield f"    wheel {number}: {figures} position {_triple(wheel.position)}"


# ---------------------------------------------------------------------- show_recorder_collisions


def _collisions(recording: Recording, first: str, second: str) -> Iterator[str]:
    yield f"{'Time':>8} {'Types':>6} {'Id':>6} {'Actor 1':<35} {'Id':>6} {'Actor 2':<35}"
    cast = _Cast()
    before: set[tuple[int, int]] = set()
    for tick in recording.ticks:
        cast.enter(tick)
        now = set()
        for a, b, kind in tick.contacts:
            if not (_is(a, first, cast) and _is(b, second, cast)):
                continue
            now.add((a, b))
            if (a, b) in before:
                continue  # the same collision still goes on
            one = f"{a:>6} {cast.blueprint(a):<35}"
            two = f"{b if b >= 0 else _NOBODY:>6} {cast.blueprint(b) if b >= 0 else f'static.{kind}':<35}"
            seconds = tick.elapsed - recording.times[0]
            yield f"{seconds:8.0f}   {_category(a, cast)} {_category(b, cast)}  {one} {two}"
        before = now


def _category(actor_id: int, cast: _Cast) -> str:
    return _CATEGORIES[cast.type(actor_id)]


def _is(actor_id: int, wanted: str, cast: _Cast) -> bool:
    return wanted in ("a", _category(actor_id, cast)) or (wanted == "h" and cast.is_hero(actor_id))


# ---------------------------------------------------------------------- show_recorder_actors_blocked


@dataclass
class _Halt:
    """Where an actor was when it moved last, and since when and for how long it has not moved."""

    place: NDArray[np.float64]
    since: float = 0.0
    seconds: float = 0.0


def _blocked(recording: Recording, min_time: float, min_distance: float) -> Iterator[str]:
    yield f"{'Time':>8} {'Id':>6} {'Actor':<35} {'Duration':>10}"
    cast = _Cast()
    halts: dict[int, _Halt] = {}
    found: list[tuple[float, str]] = []

    def end(actor_id: int, halt: _Halt) -> None:
        if halt.seconds >= min_time:
            row = f"{halt.since:8.0f} {actor_id:>6} {cast.blueprint(actor_id):<35} {halt.seconds:10.0f}"
            found.append((halt.seconds, row))

    times = [*recording.times, recording.times[-1]]
    for index, tick in enumerate(recording.ticks):
        cast.enter(tick)
        for row in tick.moving:
            actor_id, place = int(row["id"]), 100.0 * row["position"].astype(float)
            halt = halts.get(actor_id)
            if halt is not None and float(np.linalg.norm(place - halt.place)) < min_distance:
                if halt.seconds == 0.0:
                    halt.since = tick.elapsed - recording.times[0]
                halt.seconds += times[index + 1] - times[index]
            else:
                if halt is not None:
                    end(actor_id, halt)
                halts[actor_id] = _Halt(place)
    for actor_id, halt in halts.items():
        end(actor_id, halt)
    yield from (row for _, row in sorted(found, key=lambda item: -item[0]))
