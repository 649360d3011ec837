"""The kinds of actor.  Those that move have a row in ``Bodies``; the others hold their own pose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose, compose, rotation_matrix, wrap_degrees
from minicarla.maps import RoadMap, Sign
from minicarla.sensors import Sensor
from minicarla.sensors.things import LIGHT_EXTENT, LIGHT_HEAD, SIGN_EXTENT, SIGN_PLATE
from minicarla.traffic.lights import Light
from minicarla.wire import structs
from minicarla.wire.structs import AttachmentType
from minicarla.world.ackermann import AckermannController


class Actor:
    """One actor: its description, its parent and where it is.

    ``pose`` is in the world frame; for actors in ``Bodies`` the row there is the
    truth and ``pose`` is not read.  ``offset`` is the pose relative to ``parent``.
    """

    embodied = False  # has a row in Bodies

    def __init__(
        self,
        actor_id: int,
        description: structs.ActorDescription,
        pose: Pose,
        parent: Actor | None = None,
        attachment: AttachmentType = AttachmentType.RIGID,
    ) -> None:
        self.id = actor_id
        self.description = description
        self.parent = parent
        self.attachment = attachment
        self.children: list[Actor] = []
        self.offset = pose
        self.pose = pose
        self.box = structs.BoundingBox(actor_id=actor_id)
        self.tags = b""
        self.stream = 0  # 0: sends nothing
        self._arm_yaw: float | None = None
        if parent is not None:
            parent.children.append(self)

    @property
    def type_id(self) -> str:
        return self.description.id

    @property
    def attributes(self) -> dict[str, str]:
        return {attribute.id: attribute.value for attribute in self.description.attributes}

    def follow(self, parent_pose: Pose, dt: float) -> None:
        """Take the pose that the attachment gives when the parent is at ``parent_pose``.

        ``dt``: simulated seconds since the last call, for the lag of a spring arm.
        """
        if self.attachment == AttachmentType.RIGID:
            self.pose = compose(parent_pose, self.offset)
            return
        # As CARLA sets its spring arms: the arm takes the parent's yaw alone, and lags
        # behind it (Unreal's RInterpTo with CameraRotationLagSpeed 8).
        if self._arm_yaw is None:
            self._arm_yaw = parent_pose.yaw
        turn = wrap_degrees(parent_pose.yaw - self._arm_yaw)
        self._arm_yaw = wrap_degrees(self._arm_yaw + turn * min(1.0, 8.0 * dt))
        arm = Pose(parent_pose.x, parent_pose.y, parent_pose.z, 0.0, self._arm_yaw, 0.0)
        self.pose = compose(arm, self.offset)


class Spectator(Actor):
    """The free viewpoint; each episode has exactly one."""


class Prop(Actor):
    """A thing that stands still.  It is solid unless it is attached to something."""

    def __init__(
        self,
        actor_id: int,
        description: structs.ActorDescription,
        pose: Pose,
        parent: Actor | None = None,
        attachment: AttachmentType = AttachmentType.RIGID,
    ) -> None:
        super().__init__(actor_id, description, pose, parent, attachment)
        self.embodied = parent is None


class SensorActor(Actor):
    """A sensor as an actor; ``device`` is the instrument that measures."""

    def __init__(
        self,
        actor_id: int,
        description: structs.ActorDescription,
        pose: Pose,
        parent: Actor | None = None,
        attachment: AttachmentType = AttachmentType.RIGID,
        *,
        device: Sensor,
    ) -> None:
        super().__init__(actor_id, description, pose, parent, attachment)
        self.device = device
        self.due = -math.inf
        """Simulated time of the next measurement, for devices with a period."""


class Vehicle(Actor):
    """A vehicle: what clients set and no column of ``Bodies`` holds."""

    embodied = True

    def __init__(
        self,
        actor_id: int,
        description: structs.ActorDescription,
        pose: Pose,
        parent: Actor | None = None,
        attachment: AttachmentType = AttachmentType.RIGID,
    ) -> None:
        super().__init__(actor_id, description, pose, parent, attachment)
        self.physics_control: structs.VehiclePhysicsControl | None = None
        """What a client set last; None: the blueprint's own."""
        self.ackermann: AckermannController | None = None
        self.ackermann_settings = structs.AckermannControllerSettings()
        self.constant_velocity: NDArray[np.float64] | None = None
        """Velocity to keep, in the vehicle's own frame (m/s)."""
        self.wheels: dict[tuple[int, str], float] = {}
        """Degrees at which a client wants wheels to be shown, by (wheel, "steer" or "pitch")."""
        self.autopilot = False
        """Whether the server's own traffic drives it."""


class Walker(Actor):
    """A pedestrian."""

    embodied = True
    dead = False
    """Whether it was hit by a vehicle, as the client's crowd reports it."""


class WalkerController(Actor):
    """``controller.ai.walker``: the client computes the walk, the server only keeps the actor."""


class TrafficLight(Actor):
    """A traffic light; ``light`` holds its phase.

    As in CARLA, the actor's x axis runs across the lanes and its y axis against the traffic that it
    stops.  Its box is the trigger volume, in its own frame.
    """

    REACH = 12.0  # metres before the stop lines that the volume covers

    def __init__(self, actor_id: int, light: Light, roadmap: RoadMap) -> None:
        lines = []
        for lane_id, s in light.stops:
            lane = roadmap.lanes[lane_id]
            (x, y, z), heading = lane.at(s)
            lines.append((Pose(float(x), float(y), float(z), yaw=heading), 0.5 * lane.width))
        travel = lines[0][0].yaw if lines else light.pose.yaw + 180.0
        pose = light.pose._replace(yaw=wrap_degrees(travel + 90.0))
        super().__init__(actor_id, structs.ActorDescription(0, "traffic.traffic_light", []), pose)
        self.light = light
        self.tags = bytes([7])
        if lines:
            inward = rotation_matrix(*pose[3:]).T
            corners = np.array(
                [
                    inward @ np.subtract(compose(line, Pose(along, across))[:3], pose[:3])
                    for line, half in lines
                    for along in (0.0, -self.REACH)
                    for across in (-half, half)
                ]
            )
            low, high = corners.min(0), corners.max(0)
            centre, extent = 0.5 * (low + high), 0.5 * (high - low)
            extent[2] = centre[2] = 1.0
            self.box = structs.BoundingBox(
                structs.Vector3D(*centre.tolist()), structs.Vector3D(*extent.tolist()), actor_id=actor_id
            )

    @property
    def facing(self) -> Pose:
        """Its pose with the x axis in the direction in which its lamps shine."""
        return self.pose._replace(yaw=wrap_degrees(self.pose.yaw + 90.0))

    def head_box(self) -> structs.BoundingBox:
        """Box of its head in the world frame; every light has one head."""
        half_x, half_y, half = LIGHT_EXTENT
        low, high = (1.0 + LIGHT_HEAD) * half, 2.0 * half
        head = structs.transform(compose(self.facing, Pose(z=0.5 * (low + high))))
        extent = structs.Vector3D(half_x, half_y, 0.5 * (high - low))
        return structs.BoundingBox(head.location, extent, head.rotation, self.id)


class TrafficSign(Actor):
    """A stop, yield or speed limit sign of the map.

    Its box is the trigger volume.  As in CARLA, the box stands square to the axes of the map, whatever
    the sign's own direction is: its centre is in the sign's frame, its rotation undoes the sign's.
    """

    def __init__(self, actor_id: int, sign: Sign) -> None:
        super().__init__(actor_id, structs.ActorDescription(0, sign.kind, []), sign.pose)
        self.sign = sign
        self.tags = bytes([8])
        self.colour = (190, 24, 30) if sign.kind == "traffic.stop" else (232, 232, 228)
        centre, extent = sign.pose[:3], (0.0, 0.0, 0.0)
        if sign.trigger is not None:
            centre, extent = sign.trigger.centre, sign.trigger.extent
        inward = rotation_matrix(*sign.pose[3:]).T
        self.box = structs.BoundingBox(
            structs.Vector3D(*(inward @ np.subtract(centre, sign.pose[:3])).tolist()),
            structs.Vector3D(*extent),
            structs.Rotation(0.0, wrap_degrees(-sign.pose.yaw), 0.0),
            actor_id,
        )

    @property
    def facing(self) -> Pose:
        """Its pose with the x axis towards the traffic that it is for."""
        return self.pose._replace(yaw=wrap_degrees(self.pose.yaw + 90.0))

    def plate_box(self) -> structs.BoundingBox:
        """Box of its plate in the world frame."""
        half_x, half_y, half = SIGN_EXTENT
        low, high = (1.0 + SIGN_PLATE) * half, 2.0 * half
        plate = structs.transform(compose(self.facing, Pose(z=0.5 * (low + high))))
        extent = structs.Vector3D(half_x, half_y, 0.5 * (high - low))
        return structs.BoundingBox(plate.location, extent, plate.rotation, self.id)
