"""``sensor.other.obstacle``: the nearest thing in a capsule ahead."""

from __future__ import annotations

from collections.abc import Mapping

from minicarla.geometry import Pose, rotation_matrix
from minicarla.sensors.base import BOOL, FLOAT, ROLE_NAME, SENSOR_TICK, Attribute, Sensor
from minicarla.sensors.boxes import boxes_of
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType


class ObstacleSensor(Sensor):
    """Sweeps a ball of ``hit_radius`` metres straight ahead over ``distance`` metres.

    Reports how far the ball's centre goes before it touches the first box, as CARLA
    does; its own parent and the ground are not obstacles.  With ``only_dynamics`` the
    ball passes through everything but vehicles and walkers.
    """

    blueprint = "sensor.other.obstacle"
    wire_type = SensorType.OBSTACLE
    unused = frozenset({"debug_linetrace"})
    attributes = (
        ROLE_NAME,
        SENSOR_TICK,
        Attribute("distance", FLOAT, "5.0"),
        Attribute("hit_radius", FLOAT, "0.5"),
        Attribute("only_dynamics", BOOL, "false"),
        Attribute("debug_linetrace", BOOL, "false"),
    )

    def __init__(self, attributes: Mapping[str, str] = {}, seed: int = 0) -> None:
        super().__init__(attributes, seed)
        self.distance = max(0.0, self.number("distance"))
        self.radius = max(0.0, self.number("hit_radius"))
        self.only_dynamics = self.flag("only_dynamics")

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes | None:
        """The nearest obstacle within ``distance``, or None."""
        direction = rotation_matrix(pose.pitch, pose.yaw, pose.roll)[:, 0]
        boxes = boxes_of(
            view,
            pose,
            self.distance,
            parent_id,
            not self.only_dynamics,
            along=direction,
            width=self.radius,
        )
        distance, index = boxes.sweep(pose[:3], direction, self.distance, self.radius)
        if index < 0:
            return None
        actor_id = int(boxes.actor[index])
        if actor_id > 0:
            other = view.actor_struct(actor_id)
        else:
            other = view.static_actor_struct(view.roadmap.statics[int(boxes.static[index])].kind)
        me = view.actor_struct(parent_id) if parent_id else view.static_actor_struct("sensor")
        return sensor_data.obstacle(me, other, distance)
