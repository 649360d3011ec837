"""Traffic lights: where they stand, which lanes they close, how they switch.

As in CARLA, the lights of a junction form a group, and the controllers of a group take turns.  The lights
of the controller whose turn it is show green, then yellow, then red for its red time; then the turn
passes to the next controller.  The lights of all other controllers are red meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose, wrap_degrees
from minicarla.maps.roadmap import RoadMap

RED, YELLOW, GREEN, OFF, UNKNOWN = range(5)  # carla.TrafficLightState
GREEN_TIME, YELLOW_TIME, RED_TIME = 10.0, 3.0, 2.0  # CARLA's defaults, seconds
TRIGGER = 12.0
"""Metres before a stop line within which a vehicle counts as being at the light."""

_LIGHT = "1000001"  # OpenDRIVE type of a three-light signal for vehicles


@dataclass
class Light:
    """One traffic light."""

    index: int
    """Its place in ``MapTrafficLights.lights``."""
    sign_id: str
    """OpenDRIVE's id of the signal."""
    pose: Pose
    """Pose of the foot of its pole, facing the traffic that it stops."""
    lanes: list[int] = field(default_factory=list)
    """Ids of the junction lanes that it closes."""
    stops: list[tuple[int, float]] = field(default_factory=list)
    """(lane id, metres along it) of its stop lines."""
    group: int = 0
    """Index into ``MapTrafficLights.groups``."""
    controller: int = 0
    """Index into its group's controllers."""
    pole: int = 0
    """Position in the group, as CARLA's ``get_pole_index``."""
    state: int = RED


@dataclass
class Controller:
    """Lights that switch together.

    The times are its own and not the lights': in CARLA ``ATrafficLightBase::SetGreenTime`` sets that of the
    light's controller.
    """

    lights: list[int]
    """Their indices."""
    green_time: float = GREEN_TIME  # seconds
    yellow_time: float = YELLOW_TIME
    red_time: float = RED_TIME

    @property
    def times(self) -> tuple[float, float, float]:
        """Seconds of green, yellow and red."""
        return self.green_time, self.yellow_time, self.red_time


@dataclass
class LightGroup:
    """The lights of one junction, by controller."""

    junction: int
    controllers: list[Controller]
    turn: int = 0
    elapsed: float = 0.0
    frozen: bool = False

    def members(self) -> list[int]:
        """Indices of all its lights."""
        return [light for controller in self.controllers for light in controller.lights]


class MapTrafficLights:
    """All traffic lights of a map, in the order of their signal ids."""

    def __init__(self, roadmap: RoadMap) -> None:
        self.lights: list[Light] = []
        self.groups: list[LightGroup] = []
        self._roadmap = roadmap
        self._place(roadmap)
        self._aim(roadmap)
        self._assemble(roadmap)
        self._stop_light = np.full(len(roadmap.lanes), -1)
        self._stop_s = np.zeros(len(roadmap.lanes))
        for light in self.lights:
            for lane, s in light.stops:
                self._stop_light[lane], self._stop_s[lane] = light.index, s
        self.reset()

    # ------------------------------------------------------------------ what happens

    def step(self, dt: float) -> None:
        """Let ``dt`` seconds pass."""
        for group in self.groups:
            if group.frozen:
                continue
            group.elapsed += dt
            controller = group.controllers[group.turn]
            # A light that a client switched by hand goes on from the state that it was given.
            state = self.lights[controller.lights[0]].state
            spans = dict(zip((GREEN, YELLOW, RED), controller.times, strict=True))
            if group.elapsed + 1e-9 < spans.get(state, math.inf):
                continue
            group.elapsed = 0.0
            if state == GREEN:
                self._show(controller.lights, YELLOW)
            elif state == YELLOW:
                self._show(controller.lights, RED)
            else:
                group.turn = (group.turn + 1) % len(group.controllers)
                self._show(group.controllers[group.turn].lights, GREEN)

    def reset(self) -> None:
        """Set every group back to the start of its cycle (``reset_all_traffic_lights``)."""
        for index in range(len(self.groups)):
            self.reset_group(index)

    def reset_group(self, group: int) -> None:
        """Set one group back to the start of its cycle (``reset_group``)."""
        self.groups[group].turn, self.groups[group].elapsed = 0, 0.0
        self._show(self.groups[group].members(), RED)
        self._show(self.groups[group].controllers[0].lights, GREEN)

    def set_state(self, light: int, state: int) -> None:
        """Show ``state`` (``carla.TrafficLightState``) on one light; its cycle goes on unless frozen."""
        if not RED <= state <= UNKNOWN:
            raise ValueError(f"no traffic light state {state}")
        chosen = self.lights[light]
        chosen.state = state
        group = self.groups[chosen.group]
        if chosen.controller == group.turn:
            group.elapsed = 0.0

    def recall(self, light: int, state: int, frozen: bool, elapsed: float) -> None:
        """Show ``state`` on one light, as a recording has it; a state that does not exist is ignored.

        frozen, elapsed: of the light's group.  The cycle goes on from there with the next :meth:`step`.
        """
        if not (RED <= state <= UNKNOWN and math.isfinite(elapsed)):
            return
        chosen = self.lights[light]
        group = self.groups[chosen.group]
        chosen.state, group.frozen, group.elapsed = state, frozen, elapsed
        if state != RED:
            group.turn = chosen.controller  # only a client's hand makes lights of two controllers not red

    def freeze(self, frozen: bool, group: int | None = None) -> None:
        """Stop the time of one group, or of all."""
        for one in self.groups if group is None else [self.groups[group]]:
            one.frozen = frozen

    def controller_of(self, light: Light) -> Controller:
        """What switches a light."""
        return self.groups[light.group].controllers[light.controller]

    def elapsed(self, light: int) -> float:
        """Seconds since the light's group switched last."""
        return self.groups[self.lights[light].group].elapsed

    # ------------------------------------------------------------------ what drivers see

    def closed(self) -> dict[int, int]:
        """The junction lanes that may not be entered now: lane id -> RED or YELLOW."""
        shut: dict[int, int] = {}
        for light in self.lights:
            if light.state in (RED, YELLOW):
                for lane in light.lanes:
                    shut[lane] = light.state
        return shut

    def holding(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the light that each vehicle waits at or approaches, -1 for none.

        x, y: (n,) metres.  It is what ``vehicle.is_at_traffic_light`` tells.
        """
        if not self.lights:
            return np.full(len(x), -1)
        lane, s, _ = self._roadmap.locate_many(np.stack([x, y], 1))
        light = np.where(lane >= 0, self._stop_light[lane], -1)
        ahead = self._stop_s[lane] - s
        return np.where((light >= 0) & (ahead > -2.0) & (ahead < TRIGGER), light, -1)

    # ------------------------------------------------------------------ building

    def _show(self, lights: list[int], state: int) -> None:
        for index in lights:
            self.lights[index].state = state

    def _place(self, roadmap: RoadMap) -> None:
        found = [
            (signal, road)
            for road in roadmap.data.roads.values()
            for signal in road.signals
            if signal.dynamic and signal.kind == _LIGHT
        ]
        found.sort(key=lambda pair: (len(pair[0].id), pair[0].id))
        self._by_sign: dict[str, Light] = {}
        for signal, road in found:
            if signal.id in self._by_sign:
                continue
            x, y, z, heading = roadmap.beside(road, signal.s, signal.t)
            # Traffic along the road ("+") sees a light that faces against the road's direction.
            facing = heading + (math.pi if signal.orientation == "+" else 0.0)
            pose = Pose(x, y, z + max(0.0, signal.z), 0.0, wrap_degrees(-math.degrees(facing)), 0.0)
            light = Light(len(self.lights), signal.id, pose)
            self.lights.append(light)
            self._by_sign[signal.id] = light

    def _aim(self, roadmap: RoadMap) -> None:
        """Find the junction lanes that each light closes, and the stop lines before them."""
        lanes_of: dict[int, list[int]] = {}
        for lane in roadmap.driving:
            lanes_of.setdefault(lane.road_id, []).append(lane.id)
        for road in roadmap.data.roads.values():
            for record in (*road.signals, *road.references):
                light = self._by_sign.get(record.id)
                if light is None:
                    continue
                for lane_id in lanes_of.get(int(road.id), []):
                    lane = roadmap.lanes[lane_id]
                    if not record.covers(lane.lane_id):
                        continue
                    if lane.junction != -1:
                        shut = [lane_id]
                    elif record.faces(lane.forward):
                        shut = [i for i in lane.successors if roadmap.lanes[i].junction != -1]
                    else:
                        continue
                    light.lanes.extend(i for i in shut if i not in light.lanes)
        for light in self.lights:
            before = {p for i in light.lanes for p in roadmap.lanes[i].predecessors}
            light.stops = [(p, max(0.0, roadmap.lanes[p].length - 0.5)) for p in sorted(before)]

    def _assemble(self, roadmap: RoadMap) -> None:
        data = roadmap.data
        grouped: set[int] = set()
        for junction in data.junctions.values():
            controllers = []
            for name in junction.controllers:
                members = [
                    self._by_sign[i].index for i in data.controllers.get(name, []) if i in self._by_sign
                ]
                members = [i for i in members if i not in grouped]
                if members:
                    grouped.update(members)
                    controllers.append(Controller(members))
            if controllers:
                self.groups.append(LightGroup(int(junction.id), controllers))
        # Lights without a controller take turns one by one within their junction.
        loose: dict[int, list[Controller]] = {}
        for light in self.lights:
            if light.index not in grouped:
                junction_id = roadmap.lanes[light.lanes[0]].junction if light.lanes else -1 - light.index
                loose.setdefault(junction_id, []).append(Controller([light.index]))
        self.groups.extend(LightGroup(junction, controllers) for junction, controllers in loose.items())
        for number, group in enumerate(self.groups):
            for turn, controller in enumerate(group.controllers):
                for index in controller.lights:
                    self.lights[index].group, self.lights[index].controller = number, turn
            for pole, index in enumerate(group.members()):
                self.lights[index].pole = pole
