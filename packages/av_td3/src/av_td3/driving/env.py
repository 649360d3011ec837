"""``CarlaDrivingEnv``: a Gymnasium environment over one CARLA client.

It belongs in a process that may die, because the client can take it along; everybody else uses
:class:`av_td3.supervision.supervised.SupervisedEnv`, which has the same interface.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import carla
import gymnasium
import numpy as np
from numpy.typing import NDArray

from av_td3.config import STEP_SECONDS, EnvConfig
from av_td3.driving import observation as obs
from av_td3.driving.errors import SetupError, SimulatorFaultError, UsageError
from av_td3.driving.reward import COMPONENTS, reward_components
from av_td3.driving.route import Route, RoutePlanner, RouteTracker, Split, wrap
from av_td3.driving.session import Events, Pictures, Session
from av_td3.driving.state import StepState
from av_td3.driving.termination import STUCK_SPEED, TRUNCATIONS, is_off_road, termination
from av_td3.driving.traffic import Traffic

VIDEO_SIZE = (480, 270)
"""Width and height of ``render()``'s picture."""
OBSTACLE_RANGE = 40.0
"""Metres that the obstacle sensor looks ahead."""
WAITING_GAP = 10.0
"""Metres to the thing ahead within which standing still is not being stuck."""
START_ROOM = 6.0
"""Metres around a start within which a vehicle of somebody else blocks it."""
START_TRIES = 20
"""Routes drawn until one has a free start."""
SETTLE_STEPS = 10
"""Ticks from placing the car to the first observation: it drops onto its wheels."""
DRIFT = 0.5  # metres that a settled car may have moved away from its start

Observation = dict[str, NDArray[Any]]


class CarlaDrivingEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Drive a route.  Spaces, ``info`` and rules: docs/architecture.md, docs/reward.md.

    Args:
        config: the environment's configuration; ``simulator.address`` must be given.
        split: which routes to drive.
        render_mode: None, or "rgb_array" for a picture from behind the car.

    ``reset(options=...)`` takes ``route`` (index into the split's routes) and ``record``
    (whether ``render`` will be called in this episode; default: render_mode is set).

    Raises:
        SetupError: no server, wrong version, wrong map, no routes.
        SimulatorFaultError: from ``reset`` and ``step``, when the simulator fails; the
            environment is of no use after it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / STEP_SECONDS)}

    def __init__(
        self, config: EnvConfig | None = None, split: Split = "train", render_mode: str | None = None
    ) -> None:
        self.config = config or EnvConfig()
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not supported; there is rgb_array")
        simulator = self.config.simulator
        if simulator.address is None:
            raise SetupError("CarlaDrivingEnv starts no server: give simulator.address, or use SupervisedEnv")
        self.split, self.render_mode = split, render_mode
        self.observation_space: gymnasium.Space[Any] = obs.observation_space(self.config)
        self.action_space: gymnasium.Space[Any] = obs.action_space()
        self._session = Session(
            simulator.address, simulator.map, simulator.client_timeout_s, simulator.start_deadline_s
        )
        self._planner = RoutePlanner(self._session.map, self.config.route)
        self.routes = self._planner.routes(split)
        """The routes of this split, in their fixed order."""
        self._traffic = Traffic(self._session, simulator, self._planner.spawn_points)
        self._frames = obs.FrameStack(self.config.camera.frame_stack, self.config.camera.size)
        self._ego: Any = None
        self._sensors: list[Any] = []
        self._video: Pictures | None = None
        self._video_frame: NDArray[np.uint8] | None = None
        self._video_sensor: Any = None
        self._route: Route | None = None
        self._position, self._yaw = (0.0, 0.0), 0.0
        self._running = False
        self._closed = False

    # Gymnasium's interface

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on a route drawn from the split with the seed, or on a given one."""
        super().reset(seed=seed)
        options = dict(options or {})
        chosen, record = options.pop("route", None), options.pop("record", self.render_mode is not None)
        if options:
            raise UsageError(f"unknown reset options {sorted(options)}; there are: route, record")
        if record and self.render_mode is None:
            raise UsageError('recording needs render_mode="rgb_array"')
        if chosen is not None and not 0 <= chosen < len(self.routes):
            raise UsageError(f"route {chosen} does not exist; the split has 0 .. {len(self.routes) - 1}")
        self._running = False
        for _ in range(1 if chosen is not None else START_TRIES):
            number = int(self.np_random.integers(len(self.routes))) if chosen is None else chosen
            route = self._planner.build(self.routes[number])
            blocker = self._start_taken_by(route)
            if blocker is None:
                break
        else:
            raise SimulatorFaultError(f"the start of route {route.name} is taken by a {blocker}")
        self._route, self._tracker = route, RouteTracker(route)
        self._place(route, record)
        self._begin_counting()
        picture = self._picture()
        self._frames.reset(picture)
        self._measure(first=True)
        # The first episode's pictures may take long: a map's geometry is prepared, a GPU warms up.
        self._session.set_timeout(self.config.simulator.client_timeout_s)
        self._running = True
        return self._observe(), self._info(dict.fromkeys(COMPONENTS, 0.0))

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One simulator step of 0.05 s with the action held."""
        steer, drive = map(float, obs.check_action(action))
        if not self._running:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        self._ego.apply_control(
            carla.VehicleControl(throttle=max(0.0, drive), steer=steer, brake=max(0.0, -drive))
        )
        self._session.tick()
        self._frames.push(self._picture())
        state = self._measure(steer=steer)
        ended = termination(state, self.config.termination)
        components = reward_components(state, ended, self.config.reward)
        info = self._info(components)
        if ended is not None:
            info["termination"] = ended
            self._running = False
        reward = sum(components.values())
        return (
            self._observe(),
            reward,
            ended is not None and ended not in TRUNCATIONS,
            ended in TRUNCATIONS,
            info,
        )

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """(270, 480, 3) RGB picture of the present frame, from behind and above the car."""
        if self.render_mode is None:
            return None
        if self._video_frame is None:
            raise RuntimeError("nothing was recorded: reset with options={'record': True}")
        return self._video_frame

    @property
    def recorded_frame(self) -> NDArray[np.uint8] | None:
        """The video's present frame as ``render`` gives it; None when nothing is recorded."""
        return self._video_frame

    def close(self) -> None:
        """Remove what was spawned and give the server its settings back."""
        if self._closed:
            return
        self._closed = True
        self._running = False
        self._traffic.close()
        for sensor in self._sensors:
            if sensor.is_listening:
                sensor.stop()
        if self._ego is not None:
            ids = [sensor.id for sensor in self._sensors] + [self._ego.id]
            self._session.client.apply_batch_sync([carla.command.DestroyActor(i) for i in ids], False)
            self._sensors, self._ego = [], None
            self._session.tick()
        self._session.close()

    # Placing the car

    def _start_taken_by(self, route: Route) -> str | None:
        """A vehicle that somebody else put where the route starts."""
        own = {self._ego.id} if self._ego is not None else set()
        own.update(self._traffic.ids)  # those make room
        for actor in self._session.world.get_actors().filter("vehicle.*"):
            place = actor.get_location()
            near = math.hypot(place.x - route.start[0], place.y - route.start[1]) < START_ROOM
            if near and actor.id not in own:
                return str(actor.type_id)
        return None

    def _place(self, route: Route, record: bool) -> None:
        """Put the ego on the route's start, at rest, with the traffic around it."""
        x, y, z, yaw = route.start
        start = carla.Transform(carla.Location(x, y, z), carla.Rotation(yaw=yaw))
        if self._ego is None:
            self._spawn(start)
        self._record(record)
        self._await_cameras()
        # From here on the number of ticks is always the same: what follows depends on the seed alone.
        self._ego.apply_control(carla.VehicleControl(brake=1.0, hand_brake=True))
        self._ego.set_target_velocity(carla.Vector3D())
        self._ego.set_target_angular_velocity(carla.Vector3D())
        self._ego.set_transform(start)
        self._traffic.reset(route.start, self.np_random)
        for _ in range(SETTLE_STEPS):
            self._session.tick()
        here = self._ego.get_location()
        if math.hypot(here.x - x, here.y - y) > DRIFT:
            raise SimulatorFaultError(
                f"the car was put at ({x:.1f}, {y:.1f}) but stands at ({here.x:.1f}, {here.y:.1f})"
            )

    def _await_cameras(self) -> None:
        """Tick until every camera that was just switched on sends: subscriptions take effect unannounced."""
        deadline = time.monotonic() + self._session.timeout_s
        for pictures in (self._camera, self._video):
            while pictures is not None and not pictures.sending(0.0):
                self._session.tick()
                if not pictures.sending(0.1) and time.monotonic() > deadline:
                    raise SimulatorFaultError(f"the camera {pictures.sensor.id} sends no pictures")

    def _spawn(self, start: Any) -> None:
        session, camera = self._session, self.config.camera
        matches = session.blueprints.filter(self.config.vehicle)
        if len(matches) != 1:
            raise SetupError(f"the server has no vehicle {self.config.vehicle!r}")
        blueprint = matches[0]
        blueprint.set_attribute("role_name", session.role)
        self._ego = session.world.try_spawn_actor(blueprint, start)
        if self._ego is None:
            raise SimulatorFaultError(
                f"no room for the car at ({start.location.x:.1f}, {start.location.y:.1f})"
            )
        front = self._ego.bounding_box.extent.x
        # The camera comes last: with its picture everything sent before it has been handled.
        self._collision = Events(self._attach("sensor.other.collision"))
        self._invasion = Events(self._attach("sensor.other.lane_invasion"))
        self._obstacle = Events(
            self._attach(
                "sensor.other.obstacle",
                carla.Transform(carla.Location(x=front + 0.1, z=0.8)),
                distance=OBSTACLE_RANGE,
                hit_radius=0.5,
                only_dynamics=True,
            )
        )
        self._camera = Pictures(
            self._attach(
                "sensor.camera.rgb",
                carla.Transform(carla.Location(x=camera.x, z=camera.z), carla.Rotation(pitch=camera.pitch)),
                image_size_x=camera.width,
                image_size_y=camera.height,
                fov=camera.fov,
            )
        )

    def _attach(self, kind: str, pose: Any = None, **attributes: Any) -> Any:
        blueprint = self._session.blueprints.find(kind)
        blueprint.set_attribute("role_name", self._session.role)
        for name, value in attributes.items():
            blueprint.set_attribute(name, str(value).lower() if isinstance(value, bool) else str(value))
        try:
            sensor = self._session.world.spawn_actor(
                blueprint, pose or carla.Transform(), attach_to=self._ego
            )
        except RuntimeError as error:
            raise SimulatorFaultError(f"{kind}: {error}") from None
        self._sensors.append(sensor)
        return sensor

    def _record(self, wanted: bool) -> None:
        """Switch the video camera; it exists from the first recording on and sends only while recording."""
        if self._video is not None:
            self._video.sensor.stop()
            self._video = None
        self._video_frame = None
        if not wanted:
            return
        if self._video_sensor is None:
            width, height = VIDEO_SIZE
            pose = carla.Transform(carla.Location(x=-6.5, z=3.2), carla.Rotation(pitch=-14.0))
            self._video_sensor = self._attach(
                "sensor.camera.rgb", pose, image_size_x=width, image_size_y=height, fov=90
            )
        self._video = Pictures(self._video_sensor)

    # Measuring

    def _begin_counting(self) -> None:
        self._first_frame = self._session.frame
        # The last episode's events, and those of being lifted to another place, are not this one's.
        self._collision.until(self._session.frame)
        self._invasion.until(self._session.frame)
        self._obstacle.until(self._session.frame - 1)
        self._collisions = self._lane_invasions = self._off_road_steps = self._steps = 0
        self._slow_seconds = 0.0
        self._last_steer = 0.0
        self._velocity = self._acceleration = np.zeros(2)
        self._in_contact: dict[int, int] = {}

    def _picture(self) -> NDArray[np.uint8]:
        timeout = self._session.timeout_s
        picture = obs.grayscale(self._camera.wait(self._session.frame, timeout), self.config.camera.size)
        if self._video is not None:
            bgra = self._video.wait(self._session.frame, timeout)
            self._video_frame = np.ascontiguousarray(bgra[:, :, 2::-1])
        return picture

    def _measure(self, first: bool = False, steer: float = 0.0) -> StepState:
        """Read the ego's state after a tick; no call to the server."""
        assert self._route is not None
        frame = self._session.frame
        transform = self._ego.get_transform()
        moving = self._ego.get_velocity()
        x, y = transform.location.x, transform.location.y
        yaw = math.radians(transform.rotation.yaw)
        velocity = np.array([moving.x, moving.y])
        if not (math.isfinite(x + y + yaw) and np.isfinite(velocity).all()):
            raise SimulatorFaultError("the simulator reported a pose or velocity that is not finite")
        new_ground = self._tracker.update(x, y)
        if first:
            acceleration, jerk, turn, moved = np.zeros(2), 0.0, 0.0, 0.0
        else:
            acceleration = (velocity - self._velocity) / STEP_SECONDS
            jerk = (
                float(np.hypot(*(acceleration - self._acceleration))) / STEP_SECONDS if self._steps else 0.0
            )
            turn = wrap(yaw - self._yaw) / STEP_SECONDS
            moved = math.hypot(x - self._position[0], y - self._position[1])
            self._steps += 1
        speed = float(np.hypot(*velocity))
        collisions = self._new_collisions(frame)
        # Lane invasions are found by the client itself, after the tick has returned: the last
        # frame's are surely there, this one's perhaps.
        invasions = 0 if first else len(self._invasion.until(frame - 1))
        distance, ahead_speed = self._obstacle_ahead(frame, yaw)
        waiting = distance < WAITING_GAP or self._at_red_light()
        self._slow_seconds = (
            self._slow_seconds + STEP_SECONDS if speed < STUCK_SPEED and not waiting and not first else 0.0
        )
        state = StepState(
            speed=speed,
            lateral=self._tracker.lateral,
            heading_error=wrap(yaw - self._tracker.heading),
            half_width=max(0.5, self._route.at(self._route.half_width, self._tracker.s)),
            reference_speed=self._route.at(self._route.reference_speed, self._tracker.s),
            new_ground=0.0 if first else new_ground,
            finished=self._tracker.finished,
            acceleration=float(np.hypot(*acceleration)),
            jerk=jerk,
            lateral_acceleration=speed * turn,
            steer_change=0.0 if first else abs(steer - self._last_steer),
            obstacle_distance=distance,
            obstacle_speed=ahead_speed,
            collisions=collisions,
            lane_invasions=invasions,
            waiting=waiting,
            slow_seconds=self._slow_seconds,
            steps=self._steps,
        )
        self._collisions += collisions
        self._lane_invasions += invasions
        self._off_road_steps += is_off_road(state, self.config.termination)
        self._velocity, self._acceleration, self._last_steer = velocity, acceleration, steer
        self._position, self._yaw, self._moved, self._state = (x, y), yaw, moved, state
        return state

    def _new_collisions(self, frame: int) -> int:
        """Collisions that began: a contact that lasts is reported every frame and counts once."""
        began = 0
        for event in self._collision.until(frame):
            other = event.other_actor.id if event.other_actor is not None else 0
            if event.frame - self._in_contact.get(other, -1000) > 10:
                began += 1
            self._in_contact[other] = event.frame
        return began

    def _obstacle_ahead(self, frame: int, yaw: float) -> tuple[float, float]:
        """Distance to the nearest thing ahead and its speed along the ego's heading; (inf, 0) for nothing."""
        nearest, speed = math.inf, 0.0
        for event in self._obstacle.until(frame):
            if event.frame == frame and event.distance < nearest:
                nearest, speed = max(0.0, float(event.distance)), 0.0
                if event.other_actor is not None and event.other_actor.id != 0:
                    moving = event.other_actor.get_velocity()
                    speed = moving.x * math.cos(yaw) + moving.y * math.sin(yaw)
        return nearest, speed

    def _at_red_light(self) -> bool:
        red = carla.TrafficLightState.Red
        return self._ego.is_at_traffic_light() and self._ego.get_traffic_light_state() == red

    def _observe(self) -> Observation:
        assert self._route is not None
        route, tracker = self.config.route, self._tracker
        waypoints = self._route.ahead(tracker.s, route.waypoints, route.waypoint_spacing_m)
        state = self._state
        return {
            "image": self._frames.stack(),
            "vector": obs.vector(
                self.config,
                state.speed,
                state.lateral,
                state.heading_error,
                self._position,
                self._yaw,
                waypoints,
            ),
        }

    def _info(self, components: dict[str, float]) -> dict[str, Any]:
        assert self._route is not None
        state = self._state
        return {
            "speed_kmh": state.speed * 3.6,
            "lateral_deviation_m": state.lateral,
            "heading_error_rad": state.heading_error,
            "route": self._route.name,
            "route_length_m": self._route.length,
            "route_completion": self._tracker.completion,
            "distance_m": self._moved,
            "reward_components": components,
            "collisions": self._collisions,
            "lane_invasions": self._lane_invasions,
            "off_road_steps": self._off_road_steps,
            "acceleration": state.acceleration,
            "jerk": state.jerk,
            "time_to_collision_s": state.time_to_collision,
            "obstacle_distance_m": state.obstacle_distance,
            "frame": self._session.frame - self._first_frame,
        }
