"""The ego vehicle: the car that the agent drives, with the sensors that are attached to it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import carla
import numpy as np
from numpy.typing import NDArray

from av_td3.config import CameraConfig, EnvConfig
from av_td3.driving import chase_camera
from av_td3.driving.errors import SetupError, SimulatorFaultError
from av_td3.driving.hazards import Other
from av_td3.driving.meter import Contact, Reading
from av_td3.driving.session import CameraStream, DrivingSession, EventStream

Footprints = Mapping[int, tuple[float, float]]
"""Actor id -> half its length and half its width, metres."""
OBSTACLE_RANGE = 40.0
"""Metres that the obstacle sensor looks ahead."""


class EgoVehicle:
    """The car with its collision, lane-invasion and obstacle sensors and its cameras.

    Args:
        session: where it lives.
        config: which car, and how its camera is mounted.
        start: where it is spawned.

    Raises:
        SetupError: the server does not have the configured vehicle.
        SimulatorFaultError: there is no room for the car, or a sensor could not be spawned.
    """

    def __init__(self, session: DrivingSession, config: EnvConfig, start: carla.Transform) -> None:
        self._session = session
        self._actor = self._spawn(config.vehicle, start)
        self._sensors: list[carla.Sensor] = []
        try:
            # The camera comes last: messages arrive in the order in which the sensors were spawned, so
            # with the picture everything that the other sensors sent in this tick has been handled.
            self._collisions = EventStream(self._attach("sensor.other.collision"))
            self._invasions = EventStream(self._attach("sensor.other.lane_invasion"))
            self._obstacles = EventStream(self._attach_obstacle_sensor())
            self._camera = CameraStream(self._attach_camera(config.camera))
        except SimulatorFaultError:
            self.destroy()
            raise
        self._video_sensor: carla.Sensor | None = None
        self._video: CameraStream | None = None
        self.video_frame: NDArray[np.uint8] | None = None
        """(270, 480, 3) RGB picture of the present frame; None when the episode is not recorded."""

    @property
    def id(self) -> int:
        """Actor id."""
        return int(self._actor.id)

    @property
    def front(self) -> float:
        """Metres from its origin to its front."""
        box = self._actor.bounding_box
        return float(box.location.x + box.extent.x)

    @property
    def position(self) -> tuple[float, float]:
        """(x, y) in the map's frame, metres."""
        location = self._actor.get_location()
        return location.x, location.y

    def park(self, at: carla.Transform) -> None:
        """Put the car there, at rest, with its brakes on."""
        self._actor.apply_control(carla.VehicleControl(brake=1.0, hand_brake=True))
        self._actor.set_target_velocity(carla.Vector3D())
        self._actor.set_target_angular_velocity(carla.Vector3D())
        self._actor.set_transform(at)

    def control(self, steer: float, pedal: float) -> None:
        """Hold these from the next tick on; a positive pedal is throttle, a negative one brake."""
        self._actor.apply_control(
            carla.VehicleControl(throttle=max(0.0, pedal), steer=steer, brake=max(0.0, -pedal))
        )

    def record(self, wanted: bool) -> None:
        """Switch the video camera.

        It is spawned for the first recording and sends pictures only while it is on, since every
        picture costs simulator time.
        """
        if self._video is not None:
            self._video.sensor.stop()
            self._video = None
        self.video_frame = None
        if not wanted:
            return
        if self._video_sensor is None:
            width, height = chase_camera.VIDEO_SIZE
            x, z, pitch = chase_camera.POSE
            self._video_sensor = self._attach(
                "sensor.camera.rgb",
                carla.Transform(carla.Location(x=x, z=z), carla.Rotation(pitch=pitch)),
                image_size_x=width,
                image_size_y=height,
                fov=chase_camera.FOV,
            )
        self._video = CameraStream(self._video_sensor)

    def await_cameras(self) -> None:
        """Tick until every camera that is on sends pictures.

        A subscription takes effect at the server some time after ``listen`` returned.
        """
        deadline = time.monotonic() + self._session.timeout_s
        for stream in (self._camera, self._video):
            while stream is not None and not stream.sending(0.0):
                self._session.tick()
                if not stream.sending(0.1) and time.monotonic() > deadline:
                    raise SimulatorFaultError(f"the camera {stream.sensor.id} sends no pictures")

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 4) BGRA: the front camera's picture of the session's present frame.

        Also brings ``video_frame`` up to date.
        """
        frame, timeout = self._session.frame, self._session.timeout_s
        picture = self._camera.wait(frame, timeout)
        if self._video is not None:
            bgra = self._video.wait(frame, timeout)
            self.video_frame = np.ascontiguousarray(bgra[:, :, 2::-1])
        return picture

    def read(self, others: Footprints | None = None) -> Reading:
        """Pose, velocity and events of the present frame; makes no call to the server.

        Take the picture first: with it, all events of the same tick have arrived.

        Args:
            others: whose places are wanted.

        Raises:
            SimulatorFaultError: pose or velocity is not finite.
        """
        frame = self._session.frame
        transform, moving = self._actor.get_transform(), self._actor.get_velocity()
        x, y, yaw = transform.location.x, transform.location.y, math.radians(transform.rotation.yaw)
        if not math.isfinite(x + y + yaw + moving.x + moving.y):
            raise SimulatorFaultError("the simulator reported a pose or velocity that is not finite")
        distance, speed = self._nearest_obstacle(frame, yaw)
        return Reading(
            x=x,
            y=y,
            yaw=yaw,
            velocity=(moving.x, moving.y),
            contacts=tuple(_contact(event) for event in self._collisions.until(frame)),
            # The client itself finds lane invasions, after the tick has returned.  Those of the frame
            # before are certain to be there; those of this frame may come too late.
            lane_invasions=len(self._invasions.until(frame - 1)),
            obstacle_distance=distance,
            obstacle_speed=speed,
            at_red_light=self._actor.is_at_traffic_light()
            and self._actor.get_traffic_light_state() == carla.TrafficLightState.Red,
            others=self._places(others) if others else None,
        )

    def _places(self, others: Footprints) -> NDArray[np.float64]:
        """(n, 8) those that are still there, as :class:`av_td3.driving.hazards.Other` says."""
        snapshot = self._session.world.get_snapshot()
        rows = []
        for number, size in others.items():
            actor = snapshot.find(number)
            if actor is not None:
                pose, moving = actor.get_transform(), actor.get_velocity()
                turn = math.radians(actor.get_angular_velocity().z)
                place, yaw = pose.location, math.radians(pose.rotation.yaw)
                rows.append((place.x, place.y, moving.x, moving.y, yaw, turn, *size))
        return np.array(rows, np.float64).reshape(-1, len(Other._fields))

    def destroy(self) -> None:
        """Remove the car and its sensors from the world."""
        for sensor in self._sensors:
            if sensor.is_listening:
                sensor.stop()
        self._session.destroy([*(sensor.id for sensor in self._sensors), self._actor.id])

    def _spawn(self, vehicle: str, start: carla.Transform) -> carla.Vehicle:
        matches = self._session.blueprints.filter(vehicle)
        if len(matches) != 1:
            raise SetupError(
                f"env.vehicle = {vehicle!r} names {len(matches)} of the server's vehicles; it must name one"
            )
        blueprint = matches[0]
        blueprint.set_attribute("role_name", self._session.role)
        actor = self._session.world.try_spawn_actor(blueprint, start)
        if actor is None:
            raise SimulatorFaultError(
                f"there is no room for the car at ({start.location.x:.1f}, {start.location.y:.1f})"
            )
        return actor

    def _attach_obstacle_sensor(self) -> carla.Sensor:
        bumper = carla.Location(x=self._actor.bounding_box.extent.x + 0.1, z=0.8)
        return self._attach(
            "sensor.other.obstacle",
            carla.Transform(bumper),
            distance=OBSTACLE_RANGE,
            hit_radius=0.5,
            only_dynamics=True,
        )

    def _attach_camera(self, camera: CameraConfig) -> carla.Sensor:
        return self._attach(
            "sensor.camera.rgb",
            carla.Transform(carla.Location(x=camera.x, z=camera.z), carla.Rotation(pitch=camera.pitch)),
            image_size_x=camera.width,
            image_size_y=camera.height,
            fov=camera.fov,
        )

    def _attach(
        self, kind: str, pose: carla.Transform | None = None, **attributes: float | bool
    ) -> carla.Sensor:
        blueprint = self._session.blueprints.find(kind)
        blueprint.set_attribute("role_name", self._session.role)
        for name, value in attributes.items():
            blueprint.set_attribute(name, str(value).lower())
        try:
            sensor = self._session.world.spawn_actor(
                blueprint, pose or carla.Transform(), attach_to=self._actor
            )
        except RuntimeError as error:
            raise SimulatorFaultError(f"{kind}: {error}") from None
        self._sensors.append(sensor)
        return sensor

    def _nearest_obstacle(self, frame: int, yaw: float) -> tuple[float, float]:
        """(metres, m/s along the ego's heading) of the nearest thing ahead; (inf, 0) for nothing."""
        nearest, speed = math.inf, 0.0
        for event in self._obstacles.until(frame):
            if event.frame == frame and event.distance < nearest:
                nearest, speed = max(0.0, float(event.distance)), 0.0
                if event.other_actor is not None and event.other_actor.id != 0:
                    moving = event.other_actor.get_velocity()
                    speed = moving.x * math.cos(yaw) + moving.y * math.sin(yaw)
        return nearest, speed


def _contact(event: carla.CollisionEvent) -> Contact:
    other = event.other_actor
    if other is None:
        return Contact(event.frame, 0)
    kind, _, _ = other.type_id.partition(".")
    if kind == "vehicle":
        return Contact(event.frame, other.id, "vehicle")
    return Contact(event.frame, other.id, "walker" if kind == "walker" else "static")
