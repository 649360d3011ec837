"""Fixtures of pytest for tests of CARLA code.  docs/testing.md is the manual.

pytest loads this module in every run of an environment that has minicarla.  So it imports little: CARLA's
client and the server's code come with the first test that uses a fixture.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from minicarla.testing.process import ServerError, ServerProcess

if TYPE_CHECKING:
    import carla

Scope = Literal["session", "package", "module", "class", "function"]

DELTA = 0.05
"""Simulated seconds of a tick, unless the test's marker says otherwise."""

_MARKER = """carla(map=None, delta=0.05, synchronous=True): how the carla_world of this test is set up. \
map: name of the map; delta: simulated seconds of a tick; synchronous: whether time stands still between \
the test's world.tick() calls."""

_LIGHT = "traffic.traffic_light"
_NOT_OURS = ("spectator", "traffic.")
"""Type ids, or their beginnings, of actors that belong to the map."""

_UNDONE_BY: dict[str, Callable[[Any], None]] = {
    "start_recorder": lambda client: client.stop_recorder(),
    "replay_file": lambda client: client.stop_replayer(False),
    "set_replayer_time_factor": lambda client: client.set_replayer_time_factor(1.0),
    "set_replayer_ignore_hero": lambda client: client.set_replayer_ignore_hero(False),
    "set_replayer_ignore_spectator": lambda client: client.set_replayer_ignore_spectator(True),
}
"""Methods of ``carla.Client`` whose effect outlives a test and cannot be asked for, and what undoes them.
The values are those with which CARLA and minicarla start."""

_SETTLE = 0.3
"""Seconds from the last test to the end of the process.  Threads of CARLA's client that still close a
sensor's stream when the process ends abort it (about one run in twenty-five without this)."""


# ---------------------------------------------------------------------- options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options ``--carla-*``."""
    group = parser.getgroup("minicarla", "tests of CARLA code (minicarla)")
    group.addoption(
        "--carla-map",
        metavar="NAME",
        help="Map of the tests that name none: a bundled one (default town) or an .xodr file; with "
        "--carla-address a map of that server (default: the one that it shows).",
    )
    group.addoption(
        "--carla-maps",
        metavar="FOLDER",
        help="Folder of .xodr files that tests may load by name, such as Town01.",
    )
    group.addoption(
        "--carla-address",
        metavar="HOST:PORT",
        help="Run the tests on this running server, CARLA 0.9.16 or minicarla, instead of one of their own.",
    )
    group.addoption(
        "--carla-timeout",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="Seconds after which a call that the server does not answer is an error (default 20).",
    )
    group.addoption(
        "--carla-server-scope",
        choices=("session", "package", "module", "class", "function"),
        default="session",
        help="How long the tests share one minicarla (default session).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; refuse options that cannot be met, before any test runs."""
    config.addinivalue_line("markers", _MARKER)
    option = config.getoption
    address, maps, chosen = option("--carla-address"), option("--carla-maps"), option("--carla-map")
    if option("--carla-timeout") <= 0.0:
        raise pytest.UsageError("--carla-timeout: give a number of seconds above 0")
    if address is not None:
        _split(address)
        if maps is not None:
            raise pytest.UsageError(
                "--carla-maps is for a minicarla of the tests' own, not with --carla-address"
            )
        if len(getattr(config.option, "tx", None) or ()) > 1:  # of pytest-xdist
            raise pytest.UsageError(
                "--carla-address: several workers (-n) would tick one server; use -n 1 or none"
            )
    elif maps is not None and not Path(maps).is_dir():
        raise pytest.UsageError(f"--carla-maps: no folder {maps}")
    elif chosen is not None:
        from minicarla import maps as bundled

        names = {*bundled.available(), *(bundled.files(maps) if maps is not None else ())}
        if chosen not in names and not (Path(chosen).suffix == ".xodr" and Path(chosen).is_file()):
            raise pytest.UsageError(
                f"--carla-map: no map {chosen}; give one of {', '.join(sorted(names))}, "
                "or the path of an .xodr file"
            )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise pytest.UsageError(f"--carla-address: give HOST:PORT, for example 127.0.0.1:2000, not {address}")
    return host, int(port)


# ---------------------------------------------------------------------- the server


@dataclass
class TestServer:
    """The server that tests run on.

    ``process`` is the minicarla that was started for them; None for a server of ``--carla-address``.
    """

    __test__ = False  # pytest: no class of tests

    host: str
    port: int
    """For ``carla.Client``."""
    process: ServerProcess | None = None
    default_map: str | None = None
    """Map of tests that name none; None: the one that the server shows before the first of them."""
    _client: carla.Client | None = field(default=None, repr=False)
    _unreachable: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """``HOST:PORT``"""
        return f"{self.host}:{self.port}"

    def client(self, patience: float) -> carla.Client:
        """A client of the server, which is started anew if it has ended; fails the test if none answers.

        patience: seconds after which a call without an answer is an error.
        """
        carla = _import_carla()
        if self.process is not None and not self.process.alive:
            self.restart()
        if self._client is None and not self._unreachable:
            client = carla.Client(self.host, self.port)
            client.set_timeout(patience)
            try:
                client.get_server_version()
                self._client = client
            except RuntimeError as error:
                self._unreachable = str(error)  # the tests after this one need not wait for it
        if self._client is None:
            raise _failure(f"no CARLA server answers at {self.address}: {self._unreachable}")
        self._client.set_timeout(patience)
        return self._client

    def restart(self) -> None:
        """Restart minicarla on another port; existing clients stay with the old one."""
        if self.process is None:
            raise ServerError(f"{self.address} is not a server that the tests have started")
        self._client, self._unreachable = None, ""
        self.process.restart()
        self.host, self.port = self.process.host, self.process.port

    def give_up(self) -> str:
        """The server does not answer: the next test gets a new one, if it is the tests' own.

        Returns what is known about the reason.
        """
        self._client = None
        if self.process is None:
            return f"{self.address} does not answer"
        if self.process.alive:
            self.process.kill()
            return "minicarla did not answer, and the next test gets a new one"
        last = (self.process.output.strip().splitlines() or ["nothing"])[-1]
        return (
            f"minicarla had ended with status {self.process.status}; the last thing that it printed: {last}"
        )

    def close(self) -> None:
        """End the client and the process."""
        used, self._client = self._client is not None, None
        gc.collect()  # clients that tests have left end first: without a server they would wait and complain
        if used:
            time.sleep(_SETTLE)
        if self.process is not None:
            self.process.stop()


def _failure(text: str) -> BaseException:
    """What ``pytest.fail`` raises, without a traceback: the test's own code is not to blame."""
    return pytest.fail.Exception(text, pytrace=False)


def _import_carla() -> ModuleType:
    try:
        import carla
    except ImportError as error:
        raise _failure(f"CARLA's client cannot be imported ({error}): pip install carla==0.9.16") from None
    return carla


def _start(**options: Any) -> ServerProcess:
    try:
        return ServerProcess(**options)
    except ServerError as error:
        raise _failure(str(error)) from None


def _scope(fixture_name: str, config: pytest.Config) -> Scope:
    return cast(Scope, config.getoption("--carla-server-scope"))


@pytest.fixture(scope=_scope)
def carla_server(pytestconfig: pytest.Config) -> Iterator[TestServer]:
    """A server: a minicarla on a free port of the loopback interface, or that of ``--carla-address``.

    It is started once for the session (``--carla-server-scope``), and anew when it has ended.
    """
    option = pytestconfig.getoption
    chosen = option("--carla-map")
    if option("--carla-address") is not None:
        server = TestServer(*_split(option("--carla-address")), default_map=chosen)
    else:
        process = _start(map=chosen or "town", maps=option("--carla-maps") or "")
        name = Path(chosen).stem if chosen and chosen.endswith(".xodr") else chosen or "town"
        server = TestServer(process.host, process.port, process, name)
    yield server
    server.close()


@pytest.fixture
def carla_server_factory() -> Iterator[Callable[..., ServerProcess]]:
    """A function that starts further minicarlas, with the options of ``ServerProcess``.

    They end with the test.
    """
    servers: list[ServerProcess] = []

    def start(**options: Any) -> ServerProcess:
        servers.append(_start(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


# ---------------------------------------------------------------------- client and world


@pytest.fixture
def carla_client(carla_server: TestServer, pytestconfig: pytest.Config) -> carla.Client:
    """A ``carla.Client`` of the server.  What the test changes in the world stays; see ``carla_world``."""
    return carla_server.client(pytestconfig.getoption("--carla-timeout"))


@pytest.fixture
def carla_world(
    request: pytest.FixtureRequest, carla_client: carla.Client, carla_server: TestServer
) -> Iterator[carla.World]:
    """The world in synchronous mode, 0.05 s a tick; the marker ``carla`` changes that.

    After the test its sensors are stopped and its actors destroyed, and the world is as before;
    docs/testing.md names the exceptions.
    """
    wish = _Wish.of(request.node)
    if carla_server.default_map is None:
        carla_server.default_map = _map_name(carla_client.get_world())
    world = _world_on(carla_client, wish.map or carla_server.default_map)
    before = _Before(world, wish)
    with _watched_calls() as calls:
        yield world
        why = ""
        if carla_server.process is None or carla_server.process.alive:
            try:
                before.restore(carla_client, calls)
                return
            except RuntimeError as error:
                why = f" ({error})"
        raise _failure(f"the world could not be cleaned after the test: {carla_server.give_up()}{why}")


@pytest.fixture
def carla_traffic_manager(
    carla_client: carla.Client, carla_world: carla.World
) -> Iterator[carla.TrafficManager]:
    """A Traffic Manager on a free port, with seed 0, in synchronous mode if the world is.

    It ends with the test.
    """
    manager = carla_client.get_trafficmanager(_free_port())
    manager.set_random_device_seed(0)
    manager.set_synchronous_mode(carla_world.get_settings().synchronous_mode)
    yield manager
    manager.shut_down()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class _Wish:
    """What the marker of a test asks for."""

    map: str | None = None
    delta: float = DELTA
    synchronous: bool = True

    @classmethod
    def of(cls, item: pytest.Item) -> _Wish:
        wish: dict[str, Any] = {}
        for marker in reversed(list(item.iter_markers("carla"))):  # the closest last
            wish |= marker.kwargs
            unknown = sorted(wish.keys() - cls.__dataclass_fields__.keys())
            if marker.args or unknown:
                what = f"no argument {unknown[0]!r}" if unknown else "keyword arguments alone"
                raise _failure(f"pytest.mark.carla takes map=, delta=, synchronous=: {what}")
        return cls(**wish)


def _map_name(world: carla.World) -> str:
    return str(world.get_map().name).rsplit("/", 1)[-1]


def _world_on(client: carla.Client, name: str) -> carla.World:
    world = client.get_world()
    if _map_name(world) == name:
        return world
    try:
        return client.load_world(name)
    except RuntimeError as error:
        raise _failure(f"the server cannot load the map {name}: {error}") from None


class _Before:
    """What the world was like before a test; it is then made as the test wishes."""

    def __init__(self, world: carla.World, wish: _Wish) -> None:
        self.episode = world.id
        self.settings = world.get_settings()
        self.weather = world.get_weather()
        self.gravity = world.get_imui_sensor_gravity()
        settings = world.get_settings()
        settings.synchronous_mode = wish.synchronous
        settings.fixed_delta_seconds = wish.delta
        world.apply_settings(settings)
        if wish.synchronous:
            world.tick()  # a list of actors has those of the last tick
        else:
            world.wait_for_tick()
        actors = world.get_actors()
        self.actors = {actor.id for actor in actors}
        self.spectator = world.get_spectator().get_transform()
        self.light_times = {light.id: _light_times(light) for light in actors.filter(_LIGHT)}

    def restore(self, client: carla.Client, calls: _Calls) -> None:
        """Undo what a test did; RuntimeError when the server does not answer."""
        import carla

        for name in calls.of_client:
            _UNDONE_BY[name](client)
        for sensor in calls.sensors:
            with contextlib.suppress(RuntimeError):  # it may be destroyed
                if sensor.is_listening():
                    sensor.stop()
        world = client.get_world()  # not the test's: it may have loaded another
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, DELTA
        world.apply_settings(settings)
        world.tick()
        same = world.id == self.episode
        own = self.actors if same else set()
        there = world.get_actors()
        actors = [actor for actor in there if actor.id not in own and not actor.type_id.startswith(_NOT_OURS)]
        for actor in actors:
            if isinstance(actor, carla.WalkerAIController):
                actor.stop()
        if actors:
            # Without a tick: after sensors had stopped, the client has hung in apply_batch_sync(..., True).
            client.apply_batch_sync([carla.command.DestroyActor(actor.id) for actor in actors], False)
        world.freeze_all_traffic_lights(False)
        if same:  # in a new episode they are as at the server's start
            for light in there.filter(_LIGHT):
                now, then = _light_times(light), self.light_times.get(light.id)
                if then is not None and now != then:
                    light.set_green_time(then[0])
                    light.set_yellow_time(then[1])
                    light.set_red_time(then[2])
            world.get_spectator().set_transform(self.spectator)
            for layers in calls.unloaded.get(world.id, ()):
                world.load_map_layer(layers)
        else:
            world.load_map_layer(carla.MapLayer.All)
        switched_off = calls.switched_off.get(world.id)
        if switched_off:
            world.enable_environment_objects(switched_off, True)
        world.reset_all_traffic_lights()
        world.set_weather(self.weather)
        world.set_imui_sensor_gravity(self.gravity)
        world.tick()
        world.apply_settings(self.settings)


def _light_times(light: carla.TrafficLight) -> tuple[float, float, float]:
    """Seconds of green, yellow and red."""
    return light.get_green_time(), light.get_yellow_time(), light.get_red_time()


class _Calls:
    """What a test called that nobody can ask the server for afterwards.

    Worlds are given by the ids of their episodes.
    """

    def __init__(self) -> None:
        self.sensors: list[carla.Sensor] = []
        """Those that were listened to.  They must be stopped through the same object: one that still listens
        when its process or its server ends may abort the process."""
        self.of_client: dict[str, None] = {}
        """Methods of :data:`_UNDONE_BY`, in the order in which they were called first."""
        self.unloaded: dict[int, list[carla.MapLayer]] = {}
        self.switched_off: dict[int, set[int]] = {}
        """Ids of environment objects."""


def _watched(original: Callable[..., Any], watcher: Callable[..., Any]) -> Callable[..., Any]:
    def method(*arguments: Any, **named: Any) -> Any:
        return watcher(original, *arguments, **named)

    return method


@contextlib.contextmanager
def _watched_calls() -> Iterator[_Calls]:
    """Note calls of CARLA's client until the end of the context."""
    import carla

    calls = _Calls()

    def listen(original: Callable[..., Any], sensor: carla.Sensor, *rest: Any, **named: Any) -> Any:
        calls.sensors.append(sensor)
        return original(sensor, *rest, **named)

    def unload(original: Callable[..., Any], world: carla.World, map_layers: carla.MapLayer) -> Any:
        calls.unloaded.setdefault(world.id, []).append(map_layers)
        return original(world, map_layers)

    def switch(original: Callable[..., Any], world: carla.World, env_objects_ids: Any, enable: bool) -> Any:
        ids = list(env_objects_ids)  # it may be something that can be read once
        off = calls.switched_off.setdefault(world.id, set())
        off.difference_update(ids) if enable else off.update(ids)
        return original(world, ids, enable)

    def note(original: Callable[..., Any], client: carla.Client, *rest: Any, **named: Any) -> Any:
        calls.of_client[original.__name__] = None
        return original(client, *rest, **named)

    watched: list[tuple[type, str, Callable[..., Any]]] = [
        (carla.Sensor, "listen", listen),
        (carla.World, "unload_map_layer", unload),
        (carla.World, "enable_environment_objects", switch),
        *((carla.Client, name, note) for name in _UNDONE_BY),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, watcher in watched:
            original = getattr(owner, name)
            setattr(owner, name, _watched(original, watcher))
            stack.callback(setattr, owner, name, original)
        yield calls
