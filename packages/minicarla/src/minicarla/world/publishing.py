"""What a tick sends: the sensors' messages and the snapshot."""

from __future__ import annotations

from minicarla.geometry import Pose
from minicarla.sensors.view import WorldView
from minicarla.traffic.lights import MapTrafficLights
from minicarla.wire import snapshot, stream
from minicarla.world.actors import SensorActor
from minicarla.world.outlet import Outlet
from minicarla.world.snapshots import SnapshotWriter
from minicarla.world.table import ActorTable

_PROMPT = frozenset(
    {
        stream.SensorType.COLLISION,
        stream.SensorType.OBSTACLE,
        stream.SensorType.GNSS,
        stream.SensorType.IMU,
    }
)
"""Sensors whose messages are sent before the snapshot, and before the client's ``tick`` returns."""


class Publisher:
    """Measures what has a reader, and sends it.

    episode_id: number of the episode, for the snapshot's header.
    """

    def __init__(self, outlet: Outlet, actors: ActorTable, lights: MapTrafficLights, episode_id: int) -> None:
        self._outlet, self._actors, self._lights = outlet, actors, lights
        self._episode_id = episode_id
        self._snapshots = SnapshotWriter()
        self._prompt: list[SensorActor] = []
        self._slow: list[SensorActor] = []

    def lay_out(self) -> None:
        """Take note of the actors that there are now; to be called whenever one came or went."""
        others = [actor for actor in self._actors.values() if not actor.embodied]
        self._snapshots.lay_out(self._actors.bodies, others)
        sensors = self._actors.sensors
        self._prompt = [sensor for sensor in sensors if sensor.device.wire_type in _PROMPT]
        self._slow = [sensor for sensor in sensors if sensor.device.wire_type not in _PROMPT]

    def send_prompt(self, view: WorldView) -> None:
        """Messages of the sensors that measure fast: collision, obstacle, GNSS, IMU."""
        for sensor in self._prompt:
            self._measure(sensor, view)

    def send_slow(self, view: WorldView) -> None:
        """Messages of all other sensors: cameras, lidars, radars."""
        for sensor in self._slow:
            self._measure(sensor, view)

    def _measure(self, sensor: SensorActor, view: WorldView) -> None:
        device = sensor.device
        if not self._outlet.has_reader(sensor.stream):
            return
        if device.period and not device.event:
            if view.time + 1e-9 < sensor.due:
                return
            following = sensor.due + device.period
            sensor.due = following if following > view.time else view.time + device.period
        parent = sensor.parent.id if sensor.parent is not None else 0
        for body in device.measure_all(view, sensor.pose, parent):
            head = stream.header(device.wire_type, view.frame, view.time, sensor.pose)
            self._outlet.send(sensor.stream, head, body)

    def send_snapshot(self, view: WorldView) -> None:
        """State of all actors."""
        if not self._outlet.has_reader(stream.WORLD_STREAM):
            return
        self._outlet.send(
            stream.WORLD_STREAM,
            stream.header(stream.SensorType.WORLD, view.frame, view.time, Pose()),
            # The platform's time is simulated too, so that equal runs give equal bytes.
            snapshot.episode_header(self._episode_id, view.time, view.dt),
            self._snapshots.write(self._actors.bodies, self._lights),
        )
