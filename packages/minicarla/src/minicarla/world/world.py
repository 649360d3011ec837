"""The world: episode, clock, actors, and the order of a tick."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minicarla import maps
from minicarla.bodies import PROP, VEHICLE, Bodies
from minicarla.geometry import Transform, compose, rotation_matrix
from minicarla.maps import navmesh
from minicarla.physics import Physics, models
from minicarla.physics.handling import Handling
from minicarla.traffic import Traffic
from minicarla.traffic.lights import TRIGGER, TrafficLights
from minicarla.traffic.walkers import Pedestrians
from minicarla.wire import snapshot, stream, structs
from minicarla.wire.structs import AttachmentType
from minicarla.world import blueprints, friction, spawning
from minicarla.world.ackermann import AckermannController, Motion
from minicarla.world.actors import Actor, Sensor, Spectator, TrafficLight, Vehicle, Walker
from minicarla.world.drawings import Drawings
from minicarla.world.outlet import CarlaError, NoReaders, Outlet
from minicarla.world.recorder import Recorder, Recording, RecordingError, Replayer
from minicarla.world.roadside import LightZones, SpeedLimits
from minicarla.world.sane import FASTEST, bounded, clipped, finite, sane_pose
from minicarla.world.snapshots import SnapshotWriter
from minicarla.world.view import View

FREE_RATE = 20.0
"""Ticks per second while no client steps the world."""

MAX_ACTORS = 10_000
_REMEMBERED_BOXES = 1024  # of the bodies that were destroyed last
_SHORTEST = 1e-4  # s, a tick
_LED_FOR = 2  # ticks after which a walker that its client does not move any more has no velocity


_PROMPT = frozenset(
    {
        stream.SensorType.COLLISION,
        stream.SensorType.OBSTACLE,
        stream.SensorType.GNSS,
        stream.SensorType.IMU,
    }
)
"""Sensors whose messages are sent before the snapshot, and before the client's ``tick`` returns."""


class World:
    """Everything that a client can see or change.

    map_name: a bundled map, the path of an .xodr file, or the name of one in map_folder.
    map_folder: a folder whose .xodr files clients may load by name; NotADirectoryError if it is none.
    seed: of traffic and of sensors' noise; with the same seed the same calls give
        bit-identical snapshots.
    npc, walkers: vehicles and pedestrians of the server's own, put on the map with every episode.
    """

    def __init__(
        self,
        map_name: str = "town",
        *,
        seed: int = 0,
        npc: int = 0,
        walkers: int = 0,
        map_folder: str = "",
        outlet: Outlet | None = None,
        synchronous: bool = False,
        before_tick: Callable[[], None] | None = None,
    ) -> None:
        self.before_tick = before_tick
        self.outlet: Outlet = outlet or NoReaders()
        self.seed = seed
        self.npc = npc
        self.walkers = walkers
        self.frame = 1
        self.elapsed = 0.0
        self.episode_id = 0
        self.settings = structs.EpisodeSettings(synchronous_mode=synchronous)
        self.weather = structs.WeatherParameters()
        self.bodies = Bodies()
        self.actors: dict[int, Actor] = {}
        self.sensors: list[Sensor] = []
        self.traffic_managers: dict[int, tuple[str, int, object]] = {}
        self._next_id = 1
        self._next_stream = stream.WORLD_STREAM + 1
        self._boxes: OrderedDict[int, structs.BoundingBox] = OrderedDict()
        self._snapshots = SnapshotWriter()
        self._layout_stale = True
        self._attached: list[tuple[Actor, Actor]] = []
        self._triggers: list[friction.FrictionTrigger] = []
        self._prompt: list[Sensor] = []
        self._slow: list[Sensor] = []
        self._unfinished = False
        self._controlled: dict[int, Vehicle] = {}  # vehicles that a controller of ours drives
        self._forgetful: dict[int, bool] = {}  # vehicles without sticky_control: told since the last tick
        self.pedestrians: Pedestrians | None = None  # of the server's own, from the first one on
        self._led: dict[int, tuple[int, Any]] = {}  # walkers that a client moves: frame, velocity
        self.imu_gravity = 9.81
        self.replay_factor = 1.0
        self.replay_ignores_hero = False
        self.replay_ignores_spectator = True
        self.recorder: Recorder | None = None
        self.replayer: Replayer | None = None
        self.solid_boxes: Any = None  # kept by spawning.has_room
        self._navigation: tuple[Any, navmesh.NavMesh | None] | None = None
        self._offered: dict[str, str] = {}
        self._map_files = maps.files(map_folder) if map_folder else {}
        self.load(str(self._map_files.get(map_name, map_name)))
        if self.roadmap.name not in maps.available():
            self._offered[self.roadmap.name] = self.roadmap.opendrive  # clients may come back to it

    # ------------------------------------------------------------------ episodes

    def load(self, map_name: str) -> None:
        """Start a new episode on a map; FileNotFoundError or ValueError leave the old one running."""
        self.start_episode(maps.load(map_name))

    def start_episode(self, roadmap: Any) -> None:
        """Start a new episode on a map that is loaded already."""
        self.stop_recorder()
        self.replayer = None
        self._unfinished = False
        self.roadmap = roadmap
        self.episode_id += 1
        self.actors.clear()
        self.sensors.clear()
        self.bodies.clear()
        self._controlled.clear()
        self._forgetful.clear()
        self._led.clear()
        self.pedestrians = None
        self.drawings = Drawings()
        self.elapsed = 0.0
        self.physics = Physics(roadmap)
        self.traffic = Traffic(roadmap, self.seed)
        self.lights = self.traffic.lights or TrafficLights(roadmap)
        self._limits = SpeedLimits(roadmap)
        self._zones = LightZones(roadmap, self.lights, TRIGGER)
        self.view = View(self)
        self.spectator = self.admit(
            Spectator(self.new_id(), structs.ActorDescription(0, "spectator", []), Transform(z=10.0))
        )
        self._light_actors = [
            self.admit(TrafficLight(self.new_id(), light, roadmap)) for light in self.lights.lights
        ]
        self._light_ids = np.array([0, *(actor.id for actor in self._light_actors)])  # by index + 1
        spawning.populate(self, self.npc)
        if self.walkers:
            spawning.populate_sidewalks(self, self.walkers)
        self._layout_stale = True

    def available_maps(self) -> list[str]:
        """Names that :meth:`load_named` takes."""
        return sorted({*maps.available(), *self._map_files, self.roadmap.name, *self._offered})

    def offer_map(self, name: str, opendrive: str) -> None:
        """Keep an OpenDRIVE text under a name; CarlaError when it cannot be driven on."""
        try:
            maps.parse(opendrive, name)
        except ValueError as error:
            raise CarlaError(f"the OpenDRIVE text cannot be used: {error}") from None
        self._offered[name] = opendrive

    def load_named(self, name: str, reset_settings: bool) -> None:
        """Start a new episode on a map that clients may name ("" for the same one); CarlaError if unknown.

        CARLA's Town01_Opt is Town01 in layers, so a name with _Opt means the roads of the one without.
        """
        current = self.roadmap
        same = name == current.name and self._offered.get(name, current.opendrive) == current.opendrive
        if not name or same:
            roadmap = current
        else:
            known = name if name in self.available_maps() else name.removesuffix("_Opt")
            if known in self._offered:
                roadmap = maps.parse(self._offered[known], name)
            elif known in self._map_files:
                try:
                    roadmap = maps.load(str(self._map_files[known]), name)
                except (OSError, ValueError) as error:
                    raise CarlaError(f"map {name[:200]} cannot be used: {error}") from None
            elif known in maps.available():
                roadmap = maps.load(known, name)
            else:
                raise CarlaError(f"map not found: {name[:200]}")
        if reset_settings:
            self.settings = structs.EpisodeSettings()
        self.start_episode(roadmap)

    def configure(self, settings: structs.EpisodeSettings) -> None:
        """Take over a client's settings; CarlaError for a step that is no time."""
        delta = settings.fixed_delta_seconds
        if delta and not _SHORTEST <= delta <= 10.0:
            raise CarlaError(f"fixed_delta_seconds is {delta:g}; it must lie between {_SHORTEST:g} and 10")
        self.settings = settings._replace(fixed_delta_seconds=delta or None)

    def set_weather(self, weather: structs.WeatherParameters) -> None:
        """Take over a client's weather; CarlaError when a field is no number."""
        if not finite(*weather) or max(map(abs, weather)) > 1e4:
            raise CarlaError("the weather has a field that is no number, or out of range")
        self.weather = weather

    @property
    def delta(self) -> float:
        """Simulated seconds of one tick."""
        return self.settings.fixed_delta_seconds or 1.0 / FREE_RATE

    @property
    def navigation(self) -> navmesh.NavMesh | None:
        """Where pedestrians walk on this map, made when first asked for; None where they cannot."""
        if self._navigation is None or self._navigation[0] is not self.roadmap:
            self._navigation = self.roadmap, navmesh.build(self.roadmap)
        return self._navigation[1]

    def stroll(self, actor_id: int) -> None:
        """Let a walker walk the sidewalks by itself; nothing happens on a map without any."""
        if self.pedestrians is None and self.navigation is not None:
            self.pedestrians = Pedestrians(self.navigation, self.seed)
        if self.pedestrians is not None:
            self.pedestrians.add(actor_id)

    # ------------------------------------------------------------------ the tick

    def tick(self) -> int:
        """Advance by one step and publish all of it; returns the new frame."""
        self.advance()
        self.finish()
        return self.frame

    def advance(self) -> int:
        """Advance by one step, publish what happened and the snapshot; returns the new frame.

        What takes long to measure, pictures above all, and what the drivers make of the new
        situation are left to :meth:`finish`, so that the client may go on meanwhile.  Nothing may
        change the world in between.
        """
        self.finish()
        if self.before_tick is not None:
            self.before_tick()
        dt = self.delta
        bodies = self.bodies
        if self._forgetful:
            self._let_go()
        if self.replayer is not None:
            self._replay(dt)
        self._drive(dt)
        if self.traffic.lights is not None:
            self.traffic.lights.step(dt)
        contacts = self.physics.step(bodies, dt)
        if self._led:
            self._report_led()
        self.frame += 1
        self.elapsed += dt
        self._look_around()
        if self._layout_stale:
            self._lay_out()
        for actor, parent in self._attached:
            actor.follow(self.pose(parent), dt)
        if self._triggers:
            friction.spread(self._triggers, bodies)
        view = self.view
        view.frame, view.dt, view.time = self.frame, dt, self.elapsed
        view.weather, view.contacts = self.weather, contacts
        for sensor in self._prompt:
            self._measure(sensor)
        self._unfinished = True
        if self.recorder is not None:
            self.recorder.record(self, contacts)
        self._publish_snapshot(dt)
        return self.frame

    def _lay_out(self) -> None:
        """Actors came or went: gather again what every tick goes through."""
        others = [actor for actor in self.actors.values() if not actor.embodied]
        self._attached = [(actor, actor.parent) for actor in others if actor.parent is not None]
        triggers = [actor for actor in others if isinstance(actor, friction.FrictionTrigger)]
        if self._triggers and not triggers:
            friction.spread(triggers, self.bodies)
        self._triggers = triggers
        self._snapshots.lay_out(self.bodies, others)
        self._prompt = [sensor for sensor in self.sensors if sensor.device.wire_type in _PROMPT]
        self._slow = [sensor for sensor in self.sensors if sensor.device.wire_type not in _PROMPT]
        self._layout_stale = False

    def _look_around(self) -> None:
        """Tell the vehicles the speed limit and the traffic light of the place where they are."""
        bodies = self.bodies
        if not len(bodies):
            return
        if self.frame % 4 == 0:
            self._limits.update(bodies.position, bodies.speed_limit)
        if self._light_actors:
            light = self._zones.find(bodies.position, bodies.rotation[:, 1]) + 1
            states = [structs.TrafficLightState.GREEN, *(light.state for light in self.lights.lights)]
            bodies.light_id[:] = self._light_ids[light]
            bodies.light_state[:] = np.array(states, np.uint8)[light]

    def _report_led(self) -> None:
        """The velocity of walkers whose physics are off and which a client moves from place to place."""
        bodies = self.bodies
        for actor_id, (frame, velocity) in list(self._led.items()):
            row = bodies.row(actor_id)
            if bodies.simulate_physics[row] or frame < self.frame - _LED_FOR:
                del self._led[actor_id]
            else:
                bodies.velocity[row] = velocity

    def _let_go(self) -> None:
        """Vehicles without ``sticky_control`` keep to a control for one tick."""
        for actor_id, told in self._forgetful.items():
            if not told:
                self._write_control(actor_id, structs.VehicleControl())
            self._forgetful[actor_id] = False

    def _drive(self, dt: float) -> None:
        """Controllers that a client left in charge of a vehicle: Ackermann, constant velocity."""
        bodies = self.bodies
        for vehicle in self._controlled.values():
            row = bodies.row(vehicle.id)
            axes = rotation_matrix(*bodies.rotation[row].tolist())
            if vehicle.ackermann is not None:
                forward = axes[:, 0]
                motion = Motion(
                    float(bodies.velocity[row] @ forward), float(bodies.acceleration[row] @ forward)
                )
                control = vehicle.ackermann.run(motion, vehicle.ackermann_settings, dt)
                self._write_control(vehicle.id, control)
            if vehicle.constant_velocity is not None:
                bodies.velocity[row] = axes @ vehicle.constant_velocity

    def finish(self) -> None:
        """Do what :meth:`advance` left: measure, then let drivers and pedestrians decide."""
        if self._unfinished:
            self._unfinished = False
            try:
                for sensor in self._slow:
                    self._measure(sensor)
            finally:
                self.traffic.decide(self.bodies, self.delta)
                if self.pedestrians is not None:
                    self.pedestrians.decide(self.bodies, self.delta)

    def _measure(self, sensor: Sensor) -> None:
        device = sensor.device
        if not self.outlet.has_reader(sensor.stream):
            return
        if sensor.period and not device.event:
            if self.elapsed + 1e-9 < sensor.due:
                return
            following = sensor.due + sensor.period
            sensor.due = following if following > self.elapsed else self.elapsed + sensor.period
        parent = sensor.parent.id if sensor.parent is not None else 0
        for body in device.measure_all(self.view, sensor.pose, parent):
            head = stream.header(device.wire_type, self.frame, self.elapsed, sensor.pose)
            self.outlet.send(sensor.stream, head, body)

    def _publish_snapshot(self, dt: float) -> None:
        if not self.outlet.has_reader(stream.WORLD_STREAM):
            return
        self.outlet.send(
            stream.WORLD_STREAM,
            stream.header(stream.SensorType.WORLD, self.frame, self.elapsed, Transform()),
            # The platform's time is simulated too, so that equal runs give equal bytes.
            snapshot.episode_header(self.episode_id, self.elapsed, dt),
            self._snapshots.write(self.bodies, self.lights),
        )

    # ------------------------------------------------------------------ actors

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def admit(self, actor: Actor) -> Actor:
        self.actors[actor.id] = actor
        self._layout_stale = True
        return actor

    def find(self, actor_id: int) -> Actor:
        """The actor; CarlaError when there is none."""
        actor = self.actors.get(actor_id)
        if actor is None:
            raise CarlaError(f"Responding error: actor {actor_id} not found")
        return actor

    def find_vehicle(self, actor_id: int) -> Vehicle:
        """The vehicle; CarlaError when there is none of that id."""
        actor = self.find(actor_id)
        if not isinstance(actor, Vehicle):
            raise CarlaError(f"Responding error: actor {actor_id} is not a vehicle")
        return actor

    def find_walker(self, actor_id: int) -> Walker:
        """The walker; CarlaError when there is none of that id."""
        actor = self.find(actor_id)
        if not isinstance(actor, Walker):
            raise CarlaError(f"Responding error: actor {actor_id} is not a walker")
        return actor

    def find_light(self, actor_id: int) -> TrafficLight:
        """The traffic light; CarlaError when there is none of that id."""
        actor = self.find(actor_id)
        if not isinstance(actor, TrafficLight):
            raise CarlaError(f"Responding error: actor {actor_id} is not a traffic light")
        return actor

    def light_ids(self, lights: Iterable[int]) -> list[int]:
        """Actor ids of traffic lights by their indices."""
        return [self._light_actors[index].id for index in lights]

    def pose(self, actor: Actor) -> Transform:
        """Where an actor is, world frame."""
        if not actor.embodied:
            return actor.pose
        row = self.bodies.row(actor.id)
        return Transform(*self.bodies.position[row].tolist(), *self.bodies.rotation[row].tolist())

    def publish(self, actor: Actor) -> structs.Actor:
        """Wire form of an actor."""
        return structs.Actor(
            actor.id,
            actor.parent.id if actor.parent is not None else 0,
            actor.description,
            actor.box,
            actor.tags,
            self.outlet.token(actor.stream) if actor.stream else b"",
        )

    def bounding_box(self, actor_id: int) -> structs.BoundingBox:
        """Box of an actor, or the last known one of a destroyed actor: a Traffic Manager asks
        for vehicles that went away in between, and an error would abort its process."""
        actor = self.actors.get(actor_id)
        box = actor.box if actor is not None else self._boxes.get(actor_id)
        if box is None:
            raise CarlaError(f"Responding error: actor {actor_id} not found")
        return box

    def spawn(
        self,
        description: structs.ActorDescription,
        pose: Transform,
        parent_id: int = 0,
        attachment: int = AttachmentType.RIGID,
        *,
        require_room: bool = True,
    ) -> Actor:
        """Add an actor; CarlaError, with CARLA's text, when it cannot be.

        pose: relative to the parent where there is one (``parent_id`` not 0).
        require_room: refuse a vehicle or walker that would touch something.
        """
        known = blueprints.complete(description)
        if known is None:
            raise CarlaError(spawning.SPAWN_INVALID)
        pose = sane_pose(pose)
        if len(self.actors) >= MAX_ACTORS:
            raise CarlaError(f"Spawn failed because there are {MAX_ACTORS} actors already")
        parent = None
        if parent_id:
            parent = self.actors.get(parent_id)
            if parent is None:
                raise CarlaError("unable to attach actor: parent actor not found")
            if attachment not in (0, 1, 2):
                raise CarlaError("unable to attach actor: unknown attachment type")
        return spawning.place(
            self, known, pose, parent, AttachmentType(attachment if parent else 0), require_room
        )

    def destroy(self, actor_id: int) -> bool:
        """Remove an actor; what is attached to it stays where it is, as in CARLA.  False: no such actor."""
        actor = self.actors.get(actor_id)
        if actor is None or isinstance(actor, Spectator | TrafficLight):
            return False
        del self.actors[actor_id]
        if actor.parent is not None:
            actor.parent.children.remove(actor)
        for child in actor.children:
            child.parent = None
        if isinstance(actor, Sensor) and actor.stream:
            self.sensors.remove(actor)
        if actor.embodied:
            if isinstance(actor, Vehicle) and actor.autopilot:
                self.traffic.remove(actor_id)
            self._controlled.pop(actor_id, None)
            self._forgetful.pop(actor_id, None)
            self._led.pop(actor_id, None)
            if self.pedestrians is not None:
                self.pedestrians.remove(actor_id)
            self.bodies.remove(actor_id)
            self._boxes[actor_id] = actor.box
            if len(self._boxes) > _REMEMBERED_BOXES:
                self._boxes.popitem(last=False)
        self._layout_stale = True
        return True

    # ------------------------------------------------------------------ recorder

    def start_recorder(self, name: str) -> str:
        """Record from the next tick on; returns the file.  RecordingError when it cannot be written."""
        self.stop_recorder()
        self.recorder = Recorder(self, name)
        return str(self.recorder.path)

    def stop_recorder(self) -> None:
        """Finish the recording, if there is one."""
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None

    def replay(
        self, name: str, start: float, duration: float, follow: int, with_sensors: bool, offset: Transform
    ) -> str:
        """Play a recording from the next tick on, on its map; RecordingError when it cannot be read."""
        if not finite(start, duration, *offset):
            raise RecordingError("the times of a replay are no numbers")
        recording = Recording(name)
        self.stop_replayer(keep_actors=False)
        if recording.opendrive != self.roadmap.opendrive:
            try:
                roadmap = maps.parse(recording.opendrive, recording.map)
            except ValueError as error:
                raise RecordingError(f"the map of {name} cannot be used: {error}") from None
            self.start_episode(roadmap)
        self.replayer = Replayer(self, recording, start, duration, follow, with_sensors, offset)
        return self.replayer.summary()

    def stop_replayer(self, keep_actors: bool) -> None:
        """End the replay, if there is one."""
        if self.replayer is not None:
            self.replayer.stop(self, keep_actors)
            self.replayer = None

    def _replay(self, dt: float) -> None:
        assert self.replayer is not None
        if self.replayer.finished:
            self.stop_replayer(keep_actors=True)
        else:
            self.replayer.advance(self, dt * self.replay_factor)

    # ------------------------------------------------------------------ what clients change

    def set_pose(self, actor_id: int, pose: Transform) -> None:
        """Put an actor there; attached ones keep the new pose relative to their parent."""
        pose = sane_pose(pose)
        actor = self.find(actor_id)
        if actor.embodied:
            row = self.bodies.row(actor_id)
            self.bodies.position[row] = pose[:3]
            self.bodies.rotation[row] = pose[3:]
        elif actor.parent is not None:
            actor.offset = pose
            actor.follow(self.pose(actor.parent), 0.0)
        else:
            actor.pose = pose

    def set_location(self, actor_id: int, location: structs.Vector3D) -> None:
        """Move an actor, keeping its rotation."""
        actor = self.find(actor_id)
        rotation = actor.offset[3:] if actor.parent is not None else self.pose(actor)[3:]
        self.set_pose(actor_id, Transform(*location, *rotation))

    def apply_control(self, actor_id: int, control: structs.VehicleControl) -> None:
        """Take over a vehicle's controls; numbers that are none count as 0, the rest is clipped."""
        vehicle = self.find_vehicle(actor_id)
        if vehicle.ackermann is not None:
            vehicle.ackermann = None
            self._enlist(vehicle)
        if actor_id in self._forgetful:
            self._forgetful[actor_id] = True
        self._write_control(actor_id, control)

    def apply_ackermann_control(self, actor_id: int, control: structs.VehicleAckermannControl) -> None:
        """Hand a vehicle to CARLA's Ackermann controller, until the next plain control."""
        vehicle = self.find_vehicle(actor_id)
        if not finite(*control):
            raise CarlaError("the Ackermann control has a field that is no number")
        if vehicle.ackermann is None:
            vehicle.ackermann = AckermannController()
        vehicle.ackermann.target = control
        self._enlist(vehicle)

    def _write_control(self, actor_id: int, control: structs.VehicleControl) -> None:
        bodies, row = self.bodies, self.bodies.row(actor_id)
        bodies.throttle[row] = bounded(control.throttle, 0.0, 1.0)
        bodies.steer[row] = bounded(control.steer, -1.0, 1.0)
        bodies.brake[row] = bounded(control.brake, 0.0, 1.0)
        bodies.hand_brake[row] = control.hand_brake
        bodies.reverse[row] = control.reverse
        bodies.manual_gear[row] = control.manual_gear_shift
        if control.manual_gear_shift:
            bodies.gear[row] = max(-1, min(control.gear, 16))

    def apply_walker_control(self, actor_id: int, control: structs.WalkerControl) -> None:
        """Set where a walker goes; the direction is normalised, a speed that is no number counts as 0."""
        if self.find_walker(actor_id).dead:
            return
        row = self.bodies.row(actor_id)
        direction = np.array(control.direction)
        length = float(np.hypot(direction[0], direction[1]))
        valid = finite(*control.direction) and length > 1e-9
        self.bodies.walk_direction[row] = direction / length if valid else 0.0
        self.bodies.walk_speed[row] = bounded(control.speed, 0.0, 50.0)
        self.bodies.jump[row] = control.jump

    def lead_walker(self, actor_id: int, pose: Transform, speed: float) -> None:
        """Put a walker on its feet there, walking on at ``speed`` (m/s) where it faces.

        ``pose`` is on the ground, as the client's crowd has it; a walker's own is half its height above.
        """
        pose = sane_pose(pose)
        if self.find_walker(actor_id).dead:
            return
        row = self.bodies.row(actor_id)
        yaw = math.radians(pose.yaw)
        direction = structs.Vector3D(math.cos(yaw), math.sin(yaw), 0.0)
        self.apply_walker_control(actor_id, structs.WalkerControl(direction, speed, False))
        self.bodies.position[row] = pose.x, pose.y, pose.z + float(self.bodies.extent[row, 2])
        self.bodies.rotation[row] = pose[3:]
        self._led[actor_id] = self.frame, self.bodies.walk_speed[row] * np.array(direction)

    def kill(self, actor_id: int) -> None:
        """A walker stands still for good and is pushed around by what hits it; others do not mind."""
        actor = self.find(actor_id)
        if isinstance(actor, Walker):
            actor.dead = True
            row = self.bodies.row(actor_id)
            self.bodies.walk_speed[row] = 0.0
            self.bodies.simulate_physics[row] = True
            self._led.pop(actor_id, None)

    def set_velocity(self, actor_id: int, velocity: Sequence[float]) -> None:
        """Give a body a velocity (world frame, m/s)."""
        self._change(actor_id, "velocity", velocity, FASTEST)

    def set_angular_velocity(self, actor_id: int, velocity: Sequence[float]) -> None:
        """Give a body a rate of turn (deg/s)."""
        self._change(actor_id, "angular_velocity", velocity, FASTEST)

    def _change(self, actor_id: int, column: str, vector: Sequence[float], limit: float) -> None:
        row = self._body(actor_id)
        sane = clipped(vector, limit)
        if row is not None and sane is not None:
            getattr(self.bodies, column)[row] = sane

    def push(self, actor_id: int, impulse: Sequence[float]) -> None:
        """Add an impulse (N*s, world frame) at the centre of mass."""
        row = self._body(actor_id)
        if row is not None:
            change = np.asarray(impulse) / self.bodies.mass[row]
            self.set_velocity(actor_id, self.bodies.velocity[row] + change)

    def twist(self, actor_id: int, impulse: Sequence[float]) -> None:
        """Add an angular impulse (kg m^2 deg/s) about the vertical axis."""
        row = self._body(actor_id)
        if row is not None:
            if self.bodies.kind[row] == VEHICLE:
                gyration = models.gyration(int(self.bodies.model[row]))
            else:
                half_length, half_width, _ = self.bodies.extent[row].tolist()
                gyration = (half_length**2 + half_width**2) / 3.0
            change = np.array([0.0, 0.0, impulse[2] / (float(self.bodies.mass[row]) * gyration)])
            self.set_angular_velocity(actor_id, self.bodies.angular_velocity[row] + change)

    def hold_velocity(self, actor_id: int, velocity: Sequence[float] | None) -> None:
        """Keep a vehicle at a velocity in its own frame (m/s), or no longer."""
        vehicle = self.find_vehicle(actor_id)
        vehicle.constant_velocity = None if velocity is None else clipped(velocity, FASTEST)
        self._enlist(vehicle)

    def _enlist(self, vehicle: Vehicle) -> None:
        if vehicle.ackermann is None and vehicle.constant_velocity is None:
            self._controlled.pop(vehicle.id, None)
        else:
            self._controlled[vehicle.id] = vehicle

    def set_simulate_physics(self, actor_id: int, enabled: bool) -> None:
        """Whether the dynamics move this body; they never move a prop."""
        if actor_id in self._boxes:
            return  # destroyed: a Traffic Manager may not know yet, and an error would abort it
        row = self._body(actor_id)
        if row is not None and self.bodies.kind[row] != PROP:
            self.bodies.simulate_physics[row] = enabled

    def set_gravity(self, actor_id: int, enabled: bool) -> None:
        """Whether a body is drawn down.  One that is not keeps its height, and its tyres hold nothing."""
        row = self._body(actor_id)
        if row is not None:
            self.bodies.weightless[row] = not enabled

    def set_collisions(self, actor_id: int, enabled: bool) -> None:
        """Whether a body touches others and is touched."""
        row = self._body(actor_id)
        if row is not None:
            self.bodies.intangible[row] = not enabled

    def forget_controls(self, actor_id: int) -> None:
        """Let a vehicle keep to each control for one tick only (its attribute ``sticky_control``)."""
        self._forgetful[actor_id] = False

    def _body(self, actor_id: int) -> int | None:
        """Row of an actor, None for one without a body; CarlaError when there is no such actor."""
        return self.bodies.row(actor_id) if self.find(actor_id).embodied else None

    def physics_control(self, actor_id: int) -> structs.VehiclePhysicsControl:
        """A vehicle's physics control: what was set last, or its model's; wheels are where they are now."""
        vehicle = self.find_vehicle(actor_id)
        usual = blueprints.physics_control(vehicle.type_id)
        control = vehicle.physics_control or usual
        pose = self.pose(vehicle)
        road = float(self.bodies.road_grip[self.bodies.row(actor_id)])
        wheels = []
        for wheel, own in zip(control.wheels, usual.wheels, strict=True):
            x, y, z, *_ = compose(pose, Transform(*(0.01 * part for part in own.position)))
            wheel = wheel._replace(position=structs.Vector3D(100.0 * x, 100.0 * y, 100.0 * z))
            wheels.append(wheel if road < 0.0 else wheel._replace(tire_friction=road * own.tire_friction))
        return control._replace(wheels=wheels)

    def set_physics_control(self, actor_id: int, control: structs.VehiclePhysicsControl) -> None:
        """Change how a vehicle handles; CarlaError for a control with which none can move."""
        vehicle = self.find_vehicle(actor_id)
        usual = blueprints.physics_control(vehicle.type_id)
        row = self.bodies.row(actor_id)
        try:
            handling = Handling(int(self.bodies.model[row]), control, usual)
        except ValueError as error:
            raise CarlaError(f"the physics control cannot be applied: {error}") from None
        vehicle.physics_control = control
        self.bodies.mass[row] = control.mass
        if _without_places(control) == _without_places(usual):
            self.bodies.handling.pop(actor_id, None)
        else:
            self.bodies.handling[actor_id] = handling

    def vehicles(self) -> Iterable[Vehicle]:
        """All vehicles in order of spawning."""
        return (actor for actor in self.actors.values() if isinstance(actor, Vehicle))


def _without_places(control: structs.VehiclePhysicsControl) -> structs.VehiclePhysicsControl:
    return control._replace(wheels=[wheel._replace(position=structs.Vector3D()) for wheel in control.wheels])
