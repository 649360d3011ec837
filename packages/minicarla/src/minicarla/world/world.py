"""The world: clock, settings, the episode, and the order of a tick."""

from __future__ import annotations

from collections.abc import Callable

from minicarla import maps
from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.wire import structs
from minicarla.world import population
from minicarla.world.actors import Actor
from minicarla.world.catalogue import MapCatalogue
from minicarla.world.episode import WorldEpisode
from minicarla.world.outlet import CarlaError, NoReaders, Outlet
from minicarla.world.recording import Recording, RecordingError, Replayer, SimulationRecorder
from minicarla.world.sane import finite
from minicarla.world.table import ActorTable

FREE_RATE = 20.0
"""Ticks per second while no client steps the world."""

_SHORTEST_STEP = 1e-4  # s
_LONGEST_STEP = 10.0  # s


class World:
    """Everything that a client can see or change; it keeps the clock and makes the ticks.

    map_name: a bundled map, the path of an .xodr file, or the name of one in map_folder.
    map_folder: a folder whose .xodr files clients may load by name; NotADirectoryError when it is
        not a folder.
    seed: of traffic and of sensors' noise.  With the same seed the same calls give bit-identical
        snapshots.
    npc, walkers: how many vehicles and pedestrians of the server's own are put on the map with every
        episode.
    outlet: where messages go.
    before_tick: called at the beginning of every tick.

    FileNotFoundError or ValueError when the map cannot be used.
    """

    episode: WorldEpisode
    weather: structs.WeatherParameters
    imu_gravity: float
    """m/s^2 that inertial sensors take for gravity."""

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
        self.seed, self.npc, self.walkers = seed, npc, walkers
        self.frame = 1
        self.elapsed = 0.0
        """Simulated seconds since the episode began."""
        self.settings = structs.EpisodeSettings(synchronous_mode=synchronous)
        self.catalogue = MapCatalogue(map_folder)
        self.actors = ActorTable(self.outlet)
        self.recorder = SimulationRecorder()
        self.traffic_managers: dict[int, tuple[str, int, object]] = {}
        """Host, port and connection of the clients' Traffic Managers, by their port."""
        self._episodes = 0
        self._unfinished = False
        self.start_episode(self.catalogue.first(map_name))

    # ------------------------------------------------------------------ episodes

    def start_episode(self, roadmap: RoadMap) -> None:
        """Start a new episode on a map.  If that fails, the old one goes on.

        It begins with the weather and the gravity of the server's start.  In CARLA they belong to the level:
        ``ACarlaGameModeBase`` holds the gravity, and applies the default weather in ``BeginPlay``.
        """
        weather = structs.WeatherParameters()
        self.episode = WorldEpisode(self._episodes + 1, roadmap, self.actors, self.outlet, weather, self.seed)
        self._episodes += 1
        self.weather, self.imu_gravity = weather, 9.81
        self.recorder.end_episode()
        self.elapsed = 0.0
        self._unfinished = False
        spawner = self.episode.spawner
        population.add_vehicles(spawner, roadmap, self.npc, self.seed)
        population.add_pedestrians(spawner, roadmap, self.walkers, self.seed)

    def load_named(self, name: str, reset_settings: bool) -> None:
        """Start a new episode on a map of the catalogue, "" for the same map; CarlaError if unknown."""
        self.start_episode(self.catalogue.find(name, self.roadmap))
        if reset_settings:
            self.settings = structs.EpisodeSettings()

    def configure(self, settings: structs.EpisodeSettings) -> None:
        """Take over a client's settings; CarlaError for a time step that is out of range."""
        delta = settings.fixed_delta_seconds
        if delta and not _SHORTEST_STEP <= delta <= _LONGEST_STEP:
            raise CarlaError(
                f"fixed_delta_seconds is {delta:g}; it must lie between {_SHORTEST_STEP:g} and "
                f"{_LONGEST_STEP:g}"
            )
        self.settings = settings._replace(fixed_delta_seconds=delta or None)

    def set_weather(self, weather: structs.WeatherParameters) -> None:
        """Take over a client's weather; CarlaError when a field is not finite or absurdly large."""
        for name, value in weather._asdict().items():
            if not finite(value) or abs(value) > 1e4:
                raise CarlaError(f"{name} of the weather is {value:g}; it must lie between -10000 and 10000")
        self.weather = weather

    @property
    def shown_weather(self) -> structs.WeatherParameters:
        """What cameras see; ``carla.WeatherParameters.Default``, -1 throughout, is the map's own weather.

        CARLA 0.9.12 gave that preset this meaning; read as numbers it would be dusk.
        """
        w = self.weather
        default = w.cloudiness == w.precipitation == w.sun_azimuth_angle == w.sun_altitude_angle == -1.0
        return structs.WeatherParameters() if default else w

    def replay(
        self, name: str, start: float, duration: float, follow: int, with_sensors: bool, offset: Pose
    ) -> str:
        """Play a recording from the next tick on, on its own map; see :class:`Replayer`.

        RecordingError when the file cannot be read or its map cannot be used.
        """
        if not finite(start, duration, *offset):
            raise RecordingError("start, duration and offset of a replay must be finite numbers")
        recording = Recording(name)
        self.recorder.stop_replay(keep_actors=False)
        if recording.opendrive != self.roadmap.opendrive:
            try:
                roadmap = maps.parse(recording.opendrive, recording.map)
            except ValueError as error:
                raise RecordingError(f"the map of {name} cannot be used: {error}") from None
            self.start_episode(roadmap)
        return self.recorder.play(
            Replayer(
                self.episode,
                recording,
                self.recorder.options,
                start=start,
                duration=duration,
                follow=follow,
                with_sensors=with_sensors,
                offset=offset,
            )
        )

    # ------------------------------------------------------------------ the tick

    def tick(self) -> int:
        """Advance by one step and publish all of it; returns the new frame."""
        self.advance()
        self.finish()
        return self.frame

    def cue(self) -> int:
        """A client asks for a tick; returns the frame that it will see.

        In asynchronous mode time goes on by itself, so this makes no tick and names the next one (as CARLA's
        ``tick_cue``; ``FCarlaEngine::OnPreTick`` takes cues in synchronous mode alone).
        """
        return self.advance() if self.settings.synchronous_mode else self.frame + 1

    def advance(self) -> int:
        """Advance by one step, publish what happened and the snapshot; returns the new frame.

        What takes long to measure, cameras above all, and the decisions of the server's own traffic
        are left to :meth:`finish`, so that the client can go on meanwhile.  Nothing may change the
        world in between.
        """
        self.finish()
        if self.before_tick is not None:
            self.before_tick()
        dt, episode, bodies = self.delta, self.episode, self.bodies

        episode.vehicles.release()
        self.recorder.replay(dt)
        episode.vehicles.drive(dt)
        if not self.recorder.replaying:
            episode.lights.step(dt)
        contacts = episode.physics.step(bodies, dt)
        episode.walkers.report_velocities()

        self.frame += 1
        self.elapsed += dt
        episode.roadside.update(bodies, self.frame, dt)
        episode.lay_out()
        episode.follow_parents(dt)
        episode.friction.apply()

        view = episode.view
        view.update(self.frame, dt, self.elapsed, self.shown_weather, self.imu_gravity, contacts)
        episode.publisher.send_prompt(view)
        self._unfinished = True
        self.recorder.record()
        episode.publisher.send_snapshot(view)
        return self.frame

    def finish(self) -> None:
        """Do what :meth:`advance` left: measure, then let the server's own traffic decide."""
        if self._unfinished:
            self._unfinished = False
            episode = self.episode
            try:
                episode.publisher.send_slow(episode.view)
            finally:
                episode.traffic.decide(self.bodies, self.delta)
                episode.walkers.decide(self.bodies, self.delta)

    # ------------------------------------------------------------------ shorthands

    @property
    def delta(self) -> float:
        """Simulated seconds of one tick."""
        return self.settings.fixed_delta_seconds or 1.0 / FREE_RATE

    @property
    def roadmap(self) -> RoadMap:
        """The map of the episode."""
        return self.episode.roadmap

    @property
    def bodies(self) -> Bodies:
        """State of the actors that move or can be bumped into."""
        return self.actors.bodies

    def spawn(self, description: structs.ActorDescription, pose: Pose, parent_id: int = 0) -> Actor:
        """Add an actor, see :meth:`Spawner.spawn`."""
        return self.episode.spawner.spawn(description, pose, parent_id)

    def destroy(self, actor_id: int) -> bool:
        """Remove an actor, see :meth:`Spawner.destroy`."""
        return self.episode.spawner.destroy(actor_id)
