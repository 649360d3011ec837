"""Builds the body of a world snapshot: whole columns for bodies, a few bytes for other actors."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from minicarla.bodies import VEHICLE, WALKER, Bodies
from minicarla.traffic.lights import MapTrafficLights
from minicarla.wire.snapshot import RECORD, RECORD_SIZE, ActorState
from minicarla.world.actors import Actor, TrafficLight, TrafficSign

_POSE = struct.Struct("<6f")
_POSE_OFFSET = RECORD.fields["location"][1]  # type: ignore[index]
_LIGHT = struct.Struct("<4fIBB")  # green, yellow, red, elapsed time, pole index, frozen, state
_LIGHT_OFFSET = RECORD.fields["green_time"][1]  # type: ignore[index]


class SnapshotWriter:
    """Keeps the records: first those of the bodies, in their order, then those of the other actors."""

    def __init__(self) -> None:
        self.records = np.zeros(0, RECORD)
        self._bytes = memoryview(bytearray())
        self._others: list[Actor] = []
        self._lights: list[tuple[int, TrafficLight]] = []
        self._walkers = np.zeros(0, np.intp)
        self._plain = np.zeros(0, np.intp)  # rows of bodies without a vehicle's fields

    def lay_out(self, bodies: Bodies, others: Sequence[Actor]) -> None:
        """Make records for these actors; to be called whenever an actor came or went."""
        count = len(bodies)
        store = bytearray((count + len(others)) * RECORD_SIZE)
        self._bytes = memoryview(store)
        self.records = np.frombuffer(store, RECORD)
        self.records["state"] = ActorState.ACTIVE
        self.records["id"][:count] = bodies.id
        self.records["id"][count:] = [actor.id for actor in others]
        self._others = list(others)
        self._lights = [
            (row, actor) for row, actor in enumerate(others, count) if isinstance(actor, TrafficLight)
        ]
        for row, actor in self._lights:
            self.records["sign_id"][row] = actor.light.sign_id.encode()[:31]
            self.records["pole_index"][row] = actor.light.pole
        for row, other in enumerate(others, count):
            if isinstance(other, TrafficSign):
                self.records["sign_id"][row] = other.sign.sign_id.encode()[:31]
        self._walkers = np.flatnonzero(bodies.kind == WALKER)
        self._plain = np.flatnonzero(bodies.kind != VEHICLE)

    def write(self, bodies: Bodies, lights: MapTrafficLights) -> memoryview:
        """Bytes of all records as they are now; valid until the next call."""
        count = len(bodies)
        if count:
            self._write_bodies(self.records[:count], bodies)
        offset = count * RECORD_SIZE + _POSE_OFFSET
        for actor in self._others:
            _POSE.pack_into(self._bytes, offset, *actor.pose)
            offset += RECORD_SIZE
        if self._lights:
            self._write_lights(lights)
        return self._bytes

    def _write_lights(self, lights: MapTrafficLights) -> None:
        for row, actor in self._lights:
            light = actor.light
            group = lights.groups[light.group]
            _LIGHT.pack_into(
                self._bytes,
                row * RECORD_SIZE + _LIGHT_OFFSET,
                *(*lights.controller_of(light).times, group.elapsed),
                *(light.pole, group.frozen, light.state),
            )

    def _write_bodies(self, records: np.ndarray, bodies: Bodies) -> None:
        records["location"] = bodies.position
        records["rotation"] = bodies.rotation
        records["velocity"] = bodies.velocity
        records["angular_velocity"] = bodies.angular_velocity
        records["acceleration"] = bodies.acceleration
        records["throttle"] = bodies.throttle
        records["steer"] = bodies.steer
        records["brake"] = bodies.brake
        records["hand_brake"] = bodies.hand_brake
        records["reverse"] = bodies.reverse
        records["manual_gear_shift"] = bodies.manual_gear
        records["gear"] = bodies.gear
        records["speed_limit"] = bodies.speed_limit
        records["traffic_light_state"] = bodies.light_state
        records["has_traffic_light"] = bodies.light_id != 0
        records["traffic_light_id"] = bodies.light_id
        if len(self._plain):
            records["union"][self._plain] = np.zeros((), "V54")
        walkers = self._walkers
        if len(walkers):
            records["walk_direction"][walkers] = bodies.walk_direction[walkers]
            records["walk_speed"][walkers] = bodies.walk_speed[walkers]
            records["jump"][walkers] = bodies.jump[walkers]
