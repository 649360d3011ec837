"""What a session and a probe say of a server that is not as it should be: with a client that plays one."""

import os
from types import SimpleNamespace

import pytest

from av_td3.driving import probe as probe_module
from av_td3.driving import session as session_module
from av_td3.driving.errors import (
    MapUnavailableError,
    ServerTakenError,
    SimulatorFaultError,
    SimulatorUnreachableError,
    SimulatorVersionError,
)
from av_td3.driving.ownership import Mark, ServerClaim
from av_td3.driving.session import DrivingSession


class FakeWorld:
    """A world in asynchronous mode on the map ``loop``."""

    roles: tuple[str, ...] = ()
    """Role names of its actors, which have their places here for ids."""

    def __init__(self):
        self.frames = iter(range(1, 100))
        self.synchronous = False
        self.ticks = 0
        self.weathers = []

    def get_settings(self):
        return SimpleNamespace(synchronous_mode=self.synchronous, fixed_delta_seconds=None)

    def apply_settings(self, settings):
        self.synchronous = settings.synchronous_mode

    def get_map(self):
        return SimpleNamespace(name="Carla/Maps/loop", to_opendrive=lambda: "<OpenDRIVE/>")

    def get_blueprint_library(self):
        return SimpleNamespace(filter=lambda pattern: [])

    def get_actors(self):
        return self

    def filter(self, pattern):
        return []

    def __iter__(self):
        return iter(
            SimpleNamespace(id=place, type_id="vehicle.x", attributes={"role_name": role})
            for place, role in enumerate(self.roles)
        )

    def wait_for_tick(self, seconds):
        raise RuntimeError("nobody ticks")

    def tick(self, timeout_s):
        self.ticks += 1
        return next(self.frames)

    def get_weather(self):
        return "as found"

    def set_weather(self, weather):
        self.weathers.append(weather)


class FakeClient:
    """Answers as a server of ``version`` does that has the map ``loop`` alone; no version: no answer."""

    version = "0.9.16"
    maps = ("Carla/Maps/loop",)

    def __init__(self, host, port, worker_threads):
        self.world = FakeWorld()

    def set_timeout(self, seconds):
        pass

    def get_server_version(self):
        if not self.version:
            raise RuntimeError("time-out")
        return self.version

    def get_world(self):
        return self.world

    def load_world(self, name):
        raise RuntimeError("map not found")

    def get_available_maps(self):
        if not self.maps:
            raise RuntimeError("time-out")
        return self.maps

    def apply_batch_sync(self, commands, tick):
        assert not tick
        self.destroyed = [command.actor_id for command in commands]


@pytest.fixture
def client(monkeypatch):
    """A kind of client for this test, which may be changed."""
    kind = type("Client", (FakeClient,), {})
    for module in (session_module, probe_module):
        monkeypatch.setattr(module.carla, "Client", kind)
    return kind


def session(map_name="loop"):
    return DrivingSession("localhost:61999", map_name, 1.0, 1.0)


@pytest.mark.parametrize(
    ("version", "error", "says"),
    [
        (
            "",
            SimulatorUnreachableError,
            r"no CARLA server answers at localhost:61999 within 1 s \(time-out\)",
        ),
        ("0.9.15", SimulatorVersionError, "is CARLA 0.9.15; this client needs 0.9.16"),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_and_the_claim_given_back(client, version, error, says):
    client.version = version
    with pytest.raises(error, match=says):
        session()
    ServerClaim("localhost", 61999).release()


def test_a_map_that_cannot_be_had_is_refused_with_those_that_can(client, tmp_path):
    with pytest.raises(
        MapUnavailableError, match=r"cannot load the map 'Town99' \(map not found\); it has: loop"
    ):
        session("Town99")
    client.maps = ()  # not even that is answered
    with pytest.raises(MapUnavailableError, match="it has: loop"):
        session("Town99")
    with pytest.raises(MapUnavailableError, match=r"cannot read the map .*gone\.xodr"):
        session(str(tmp_path / "gone.xodr"))


def test_a_map_that_is_there_already_is_not_loaded_again(client, tmp_path):
    file = tmp_path / "same.xodr"
    file.write_text("<OpenDRIVE/>")
    session(str(file)).close()  # the fake would raise
    session("Carla/Maps/loop").close()


def test_settings_and_weather_are_put_back_as_they_were_found(client):
    driving = session()
    world = driving.world
    assert world.synchronous and driving.frame == 1 and not driving.is_minicarla
    driving.set_weather("rain")
    driving.set_weather("fog")
    driving.close()
    assert not world.synchronous and world.weathers == ["rain", "fog", "as found"]


def test_what_a_session_of_this_process_left_behind_is_removed(client, monkeypatch):
    """Its connection broke, so it could not destroy its car; the worker tries again on the same server."""
    monkeypatch.setattr(FakeWorld, "roles", ("hero", str(Mark.own())))
    driving = session()
    assert driving.client.destroyed == [1]
    driving.close()
    monkeypatch.setattr(FakeWorld, "roles", (str(Mark(Mark.own().host, os.getppid())),))
    with pytest.raises(ServerTakenError, match=f"in use by process {os.getppid()}"):
        session()


def test_a_tick_that_fails_or_is_not_ours_alone_is_a_fault(client):
    driving = session()
    driving.world.frames = iter([7])
    with pytest.raises(SimulatorFaultError, match="one tick led from frame 1 to frame 7"):
        driving.tick()

    def dead(timeout_s):
        raise RuntimeError("time-out")

    driving.world.tick = dead
    with pytest.raises(SimulatorFaultError, match="tick: time-out"):
        driving.tick()
    driving.flush()  # of no interest, so it raises nothing
    driving.close()


def test_the_probe_asks_a_server_of_another_version_nothing_more(client, monkeypatch):
    monkeypatch.setattr(probe_module, "version", lambda package: "0.9.16")
    facts = probe_module.probe("localhost:61999", ticks=2)
    assert facts == {
        "client": "0.9.16",
        "server": "0.9.16",
        "map": "loop",
        "synchronous": False,
        "vehicles": 0,
    }
    client.version = "0.9.15"
    assert probe_module.probe("localhost:61999", 2) == {"client": "0.9.16", "server": "0.9.15"}


@pytest.mark.parametrize(("version", "status", "says"), [("0.9.16", 0, '"map": "loop"'), ("", 1, "time-out")])
def test_the_probes_program_prints_json_or_the_reason(client, version, status, says, capsys, monkeypatch):
    monkeypatch.setattr(probe_module, "version", lambda package: "0.9.16")
    client.version = version
    assert probe_module.main(["localhost:61999"]) == status
    printed = capsys.readouterr()
    assert says in (printed.err if status else printed.out)
