"""``CarlaDrivingEnv``: a Gymnasium environment over one CARLA client.

It belongs in a process that may die, because CARLA's client can abort the process that holds it.
Everybody else uses :class:`av_td3.supervision.supervised.SupervisedEnv`, which has the same interface.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import carla
import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from av_td3.config import STEP_SECONDS, EnvConfig, Split
from av_td3.driving import chase_camera, weather
from av_td3.driving import observation as obs
from av_td3.driving.checks import check_config, check_options, check_render_mode, check_split
from av_td3.driving.ego import EgoVehicle, Footprints
from av_td3.driving.errors import SetupError, SimulatorFaultError
from av_td3.driving.info import RewardComponents, StepInfo
from av_td3.driving.lights import RouteLights, TrafficLights
from av_td3.driving.meter import EpisodeMeter, Reading
from av_td3.driving.observation import Observation
from av_td3.driving.reward import added, no_reward, reward_components, total
from av_td3.driving.route import Route, RoutePlanner
from av_td3.driving.session import DrivingSession
from av_td3.driving.state import StepState
from av_td3.driving.termination import TRUNCATIONS, termination
from av_td3.driving.traffic import NpcTraffic

START_CLEARANCE = 6.0
"""Metres around a start within which somebody else's vehicle blocks it."""
START_TRIES = 20
"""Routes drawn until one has a free start."""
SETTLE_STEPS = 10
"""Ticks between placing the car and the first observation: it drops onto its wheels."""
DRIFT = 0.5
"""Metres that a settled car may have moved away from its start."""


class StepOutcome(NamedTuple):
    """What one step led to, its observation left out."""

    reward: float
    terminated: bool
    truncated: bool
    info: StepInfo


class _Episode:
    """The parts that exist while an episode runs."""

    def __init__(
        self,
        route: Route,
        ego: EgoVehicle,
        config: EnvConfig,
        first_frame: int,
        others: Footprints,
        lights: RouteLights,
    ) -> None:
        self.first_frame = first_frame
        self.frames = obs.FrameStack(config.camera.frame_stack, config.camera.size)
        self._config = config
        self._others = others
        self.frames.reset(self._look(ego))
        self._lights = lights
        self.meter = EpisodeMeter(config, route, self._read(ego), lights.places, ego.front)
        self.applied = (0.0, 0.0)
        """Steer and pedal that the car was given last."""
        self.draw_route(ego)

    def _look(self, ego: EgoVehicle) -> NDArray[np.uint8]:
        """(size, size) the picture that the agent sees of the present frame."""
        picture, camera = ego.picture(), self._config.camera
        if self._config.observation.picture == "black":
            return np.zeros((camera.size, camera.size), np.uint8)
        return obs.grayscale(picture, camera.size)

    def _read(self, ego: EgoVehicle) -> Reading:
        return ego.read(self._others)._replace(lights=self._lights.colours())

    def smoothed(self, steer: float, pedal: float) -> tuple[float, float]:
        """What is applied in the next tick: the action after the low-pass filter."""
        keep = self._config.action_smoothing
        before = self.applied
        self.applied = (keep * before[0] + (1 - keep) * steer, keep * before[1] + (1 - keep) * pedal)
        return self.applied

    def measure(self, ego: EgoVehicle, *, first: bool, last: bool) -> StepState:
        """Take in what a tick led to, the first or the last one of its step; the last one is seen."""
        picture = self._look(ego)
        if last:
            self.frames.push(picture)
        state = self.meter.update(self._read(ego), *self.applied, new_step=first)
        self.draw_route(ego)
        return state

    def draw_route(self, ego: EgoVehicle) -> None:
        """Show the planned route in the picture that is being recorded, if one is."""
        if ego.video_frame is not None:
            chase_camera.draw_route(ego.video_frame, self.meter.path_ahead(chase_camera.LAST))


class CarlaDrivingEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Drive a route.  Spaces and ``info``: docs/architecture.md; reward: docs/reward.md.

    Args:
        config: the environment's configuration; ``simulator.address`` must be given.
        split: which routes to drive.
        render_mode: None, or "rgb_array" for a picture from behind the car.
        own_server: the server was started for this environment: nobody looks for other clients on it.

    ``reset(options=...)`` takes ``route`` (index into the split's routes) and ``record``
    (whether ``render`` will be called in this episode; default: whether ``render_mode`` is set).

    Raises:
        SetupError: no server answers, or it has another version, another map or no routes.
        SimulatorFaultError: from ``reset`` and ``step``, when the simulator fails.  The environment
            cannot be used after it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / STEP_SECONDS)}

    def __init__(
        self,
        config: EnvConfig | None = None,
        split: Split = "train",
        render_mode: str | None = None,
        *,
        own_server: bool = False,
    ) -> None:
        self.config = check_config(config)
        check_split(split)
        check_render_mode(render_mode)
        simulator = self.config.simulator
        if simulator.address is None:
            raise SetupError("CarlaDrivingEnv starts no server: give simulator.address, or use SupervisedEnv")
        self.split, self.render_mode = split, render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / self.config.step_seconds)}
        self.observation_space: gymnasium.Space[Any] = obs.observation_space(self.config)
        self.action_space: gymnasium.Space[Any] = obs.action_space()
        self._session = DrivingSession(
            simulator.address,
            simulator.map,
            simulator.client_timeout_s,
            simulator.map_deadline_s,
            own_server,
        )
        with contextlib.ExitStack() as otherwise:
            otherwise.callback(self._session.close)
            self._planner = RoutePlanner(self._session.map, self.config.route)
            self.routes = self._planner.routes(split)
            """The routes of this split, in their fixed order."""
            self._lights = TrafficLights(self._session.world)
            self._traffic = NpcTraffic(self._session, simulator, self._planner.spawn_points)
            otherwise.pop_all()
        self._ego: EgoVehicle | None = None
        self._episode: _Episode | None = None
        self._running = False
        self._weather: str | None = None
        self._closed = False

    # ------------------------------------------------------------------ Gymnasium's interface

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on a route that is drawn from the split with the seed, or on a given one."""
        info = self.begin(seed=seed, options=options)
        return self._new_observation(), cast("dict[str, Any]", info)

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One step: ``action_repeat`` ticks of 0.05 s with this action.

        The reward is the mean over the ticks; the penalty or bonus of an episode's end counts in full.

        Raises:
            InvalidActionError: (a ValueError) the action has another shape than (2,), or is not finite.
        """
        steer, pedal = map(float, obs.check_action(action))
        done = self.drive(steer, pedal)
        info = cast("dict[str, Any]", done.info)
        return self._new_observation(), done.reward, done.terminated, done.truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """(270, 480, 3) RGB picture of the present frame: the car from behind, and the planned route."""
        if self.render_mode is None:
            return None
        if self.recorded_frame is None:
            raise RuntimeError("this episode is not recorded: reset with options={'record': True}")
        return self.recorded_frame

    def close(self) -> None:
        """Remove what was spawned and give the server its settings back."""
        if self._closed:
            return
        self._closed = True
        self._running = False
        with contextlib.ExitStack() as finally_:
            # Also when the simulator no longer answers: this process must not keep its claim on the server.
            finally_.callback(self._session.close)
            self._traffic.close()
            if self._ego is not None:
                self._ego.destroy()
                self._ego = None
                self._session.flush()

    # ------------------------------------------------------------------ the same without copies

    def begin(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> StepInfo:
        """``reset`` without the observation, which :meth:`observe` writes."""
        super().reset(seed=seed)
        chosen, record = check_options(options, self.render_mode, len(self.routes))
        self._running = False
        route = self._choose_route(chosen)
        ego = self._place(route, record)
        lights = self._lights.on(route)
        self._episode = _Episode(route, ego, self.config, self._session.frame, self._footprints(), lights)
        # The first episode's pictures may take long: a map's geometry is prepared, a GPU warms up.
        self._session.set_timeout(self.config.simulator.client_timeout_s)
        self._running = True
        return self._info(self._episode, no_reward())

    def drive(self, steer: float, pedal: float) -> StepOutcome:
        """``step`` without the observation, which :meth:`observe` writes.

        Args:
            steer: in [-1, 1], positive to the right.
            pedal: in [-1, 1]; positive is throttle, negative is brake.  Both have been checked
                (:func:`av_td3.driving.observation.check_action`).
        """
        if not self._running or self._episode is None or self._ego is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        episode, ego, repeat = self._episode, self._ego, self.config.action_repeat
        ticks: list[RewardComponents] = []
        ended = None
        while ended is None and len(ticks) < repeat:
            ego.control(*episode.smoothed(steer, pedal))
            self._session.tick()
            state = episode.measure(ego, first=not ticks, last=len(ticks) == repeat - 1)
            ended = termination(state, self.config.termination)
            ticks.append(reward_components(state, ended, self.config.reward, weight=1.0 / repeat))
        components = added(ticks)
        info = self._info(episode, components)
        if ended is not None:
            info["termination"] = ended
            self._running = False
        truncated = ended in TRUNCATIONS
        return StepOutcome(total(components), ended is not None and not truncated, truncated, info)

    def observe(self, image: NDArray[np.uint8], vector: NDArray[np.float32]) -> None:
        """Write the present observation into arrays of the observation space's shapes."""
        assert self._episode is not None, "reset() comes first"
        self._episode.frames.write(image)
        vector[:] = self._episode.meter.vector()

    @property
    def recorded_frame(self) -> NDArray[np.uint8] | None:
        """The picture that ``render`` returns; None when the episode is not recorded."""
        return None if self._ego is None else self._ego.video_frame

    def _info(self, episode: _Episode, components: RewardComponents) -> StepInfo:
        frame = self._session.frame - episode.first_frame
        info = episode.meter.info(components, frame=frame, npc=len(self._traffic.ids))
        if self._weather is not None:
            info["weather"] = self._weather
        return info

    def _new_observation(self) -> Observation:
        observation = obs.empty(self.config)
        self.observe(observation["image"], observation["vector"])
        return observation

    # ------------------------------------------------------------------ placing the car

    def _choose_route(self, chosen: int | None) -> Route:
        """The chosen route, or one drawn with the episode's seed; its start is free."""
        for _ in range(START_TRIES if chosen is None else 1):
            number = int(self.np_random.integers(len(self.routes))) if chosen is None else chosen
            route = self._planner.build(self.routes[number])
            blocker = self._start_taken_by(route)
            if blocker is None:
                return route
        raise SimulatorFaultError(f"a {blocker} of another client stands where route {route.name} starts")

    def _footprints(self) -> Footprints:
        """The other vehicles and the walkers, whoever spawned them, with half their lengths and widths."""
        own = self._ego.id if self._ego is not None else 0
        return {
            actor.id: (actor.bounding_box.extent.x, actor.bounding_box.extent.y)
            for actor in self._session.world.get_actors()
            if actor.type_id.startswith(("vehicle.", "walker.")) and actor.id != own
        }

    def _start_taken_by(self, route: Route) -> str | None:
        """The type of a vehicle that somebody else put where the route starts; None when it is free."""
        own = {self._ego.id} if self._ego is not None else set()
        own.update(self._traffic.ids)  # the traffic makes room by itself
        for actor in self._session.world.get_actors().filter("vehicle.*"):
            place = actor.get_location()
            near = math.hypot(place.x - route.start[0], place.y - route.start[1]) < START_CLEARANCE
            if near and actor.id not in own:
                return str(actor.type_id)
        return None

    def _place(self, route: Route, record: bool) -> EgoVehicle:
        """Put the ego vehicle on the route's start, at rest, with the traffic around it."""
        x, y, z, yaw = route.start
        start = carla.Transform(carla.Location(x, y, z), carla.Rotation(yaw=yaw))
        if self._ego is None:
            self._ego = EgoVehicle(self._session, self.config, start)
        ego = self._ego
        ego.record(record)
        ego.await_cameras()
        # From here on the number of ticks is always the same: what follows depends on the seed alone.
        ego.park(start)
        self._traffic.reset(route.start, self.np_random)
        # Drawn last: the same seed has the same route and traffic in any weather.
        self._weather = weather.draw(self.config.weather, self.np_random)
        if self._weather is not None:
            self._session.set_weather(weather.parameters(self._weather))
        for _ in range(SETTLE_STEPS):
            self._session.tick()
        here = ego.position
        if math.hypot(here[0] - x, here[1] - y) > DRIFT:
            raise SimulatorFaultError(
                f"the car was put at ({x:.1f}, {y:.1f}) but stands at ({here[0]:.1f}, {here[1]:.1f})"
            )
        return ego
