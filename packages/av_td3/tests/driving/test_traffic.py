"""The other vehicles, with a session that notes what it is asked for."""

import re
from types import SimpleNamespace

import carla
import numpy as np
import pytest

from av_td3.config import SimulatorConfig
from av_td3.driving import traffic
from av_td3.driving.traffic import CLEARANCE, NpcTraffic

POINTS = [carla.Transform(carla.Location(20.0 * i, 0.0, 0.0)) for i in range(5)]
START = (0.0, 0.0, 0.0, 0.0)


class Attribute(str):
    recommended_values = ("1,2,3",)

    def as_int(self):
        return int(self)

    def as_str(self):
        return str(self)


class Blueprint:
    def __init__(self, name, **attributes):
        self.id, self.attributes = name, {key: Attribute(value) for key, value in attributes.items()}

    def get_attribute(self, name):
        return self.attributes[name]

    def has_attribute(self, name):
        return name in self.attributes

    def set_attribute(self, name, value):
        self.attributes[name] = Attribute(value)


class Command:
    """``SpawnActor`` and what is done after it."""

    def __init__(self, blueprint, point):
        self.role, self.point, self.after = str(blueprint.attributes["role_name"]), point, None

    def then(self, after):
        self.after = after
        return self


class Vehicle:
    def __init__(self, id_, place):
        self.id, self.place = id_, place

    def get_location(self):
        return self.place

    def set_target_velocity(self, velocity):
        self.velocity = velocity

    def set_transform(self, pose):
        self.place = pose.location


class Session:
    """What ``NpcTraffic`` needs of a ``DrivingSession``; ``calls`` is what it asked for."""

    is_minicarla, role = True, "av_td3:here:1"

    def __init__(self, room=5):
        self.calls, self.vehicles, self.room = [], {}, room
        self.blueprints = SimpleNamespace(filter=lambda _: BLUEPRINTS)
        self.client = SimpleNamespace(
            apply_batch_sync=self._spawn, get_trafficmanager=lambda port: self._manager(port)
        )
        self.world = SimpleNamespace(get_actors=lambda ids: [self.vehicles[i] for i in ids])

    def _spawn(self, batch, tick):
        self.calls.append([command.role for command in batch])
        self.batch = batch
        answers = []
        for number, command in enumerate(batch):
            self.vehicles[number] = Vehicle(number, command.point.location)
            error = "" if number < self.room else "no room"
            answers.append(SimpleNamespace(actor_id=number, error=error))
        return answers

    def _manager(self, port):
        def note(name):
            return lambda value: self.calls.append((name, value))

        self.calls.append(("manager", port))
        return SimpleNamespace(
            set_synchronous_mode=note("synchronous"),
            set_random_device_seed=lambda _: None,
            vehicle_percentage_speed_difference=lambda vehicle, percent: self.calls.append(
                ("slower", vehicle.id, percent)
            ),
        )

    def destroy(self, actors):
        self.calls.append(("destroy", list(actors)))

    def flush(self):
        self.calls.append("flush")


BLUEPRINTS = [
    Blueprint("vehicle.b", number_of_wheels="4", base_type="car", color="1,2,3"),
    Blueprint("vehicle.a", number_of_wheels="4"),
    Blueprint("vehicle.bike", number_of_wheels="2"),
    Blueprint("vehicle.truck", number_of_wheels="4", base_type="truck"),
]


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    """CARLA's commands take its own blueprints only."""
    command = SimpleNamespace(
        SpawnActor=Command, SetAutopilot=lambda actor, on, port: ("autopilot", on, port), FutureActor=0
    )
    monkeypatch.setattr(traffic, "carla", SimpleNamespace(command=command, Vector3D=carla.Vector3D))


def config(**simulator):
    return SimulatorConfig(npc=2, **simulator)


def test_on_minicarla_every_episode_has_vehicles_of_its_own():
    session = Session()
    npc = NpcTraffic(session, config(), POINTS)
    assert npc.kind == "server"
    npc.reset(START, np.random.default_rng(1))
    first = [command.point.location.x for command in session.batch]
    assert npc.ids == [0, 1] and min(first) > CLEARANCE
    npc.reset(START, np.random.default_rng(1))
    assert [command.point.location.x for command in session.batch] == first, "the seed decides"
    role = "minicarla:autopilot:av_td3:here:1"
    assert session.calls == [("destroy", []), [role, role], ("destroy", [0, 1]), [role, role]]
    npc.close()
    assert session.calls[4:] == [("destroy", [0, 1]), "flush"] and npc.ids == []


def test_with_the_traffic_manager_vehicles_stay_and_those_in_the_way_are_moved():
    session = Session()
    session.is_minicarla = False
    npc = NpcTraffic(session, config(traffic_manager_port=8123), POINTS)
    assert npc.kind == "traffic_manager"
    npc.reset(START, np.random.default_rng(1))
    assert session.calls == [("manager", 8123), ("synchronous", True), ["av_td3:here:1"] * 2]
    assert all(command.after == ("autopilot", True, 8123) for command in session.batch)
    blocking, other = (session.vehicles[i] for i in npc.ids)
    blocking.place, other.place = carla.Location(3.0, 0.0, 0.0), carla.Location(60.0, 0.0, 0.0)
    npc.reset(START, np.random.default_rng(2))
    assert len(session.calls) == 3, "nobody was spawned or destroyed"
    assert blocking.place.x in (20.0, 40.0, 80.0) and other.place.x == 60.0
    npc.close()
    assert session.calls[3:] == [("destroy", [0, 1]), "flush", ("synchronous", False)], "in this order"


def test_a_map_with_less_room_has_fewer(caplog):
    session = Session(room=1)
    npc = NpcTraffic(session, config(traffic="server"), POINTS)
    npc.reset(START, np.random.default_rng(0))
    assert npc.ids == [0] and "room for 1 of 2 vehicles" in caplog.text


def test_cars_alone_are_driven():
    npc = NpcTraffic(Session(), config(), POINTS)
    assert [blueprint.id for blueprint in npc._blueprints] == ["vehicle.a", "vehicle.b"]


def test_without_vehicles_nothing_is_asked_for():
    session = Session()
    npc = NpcTraffic(session, SimulatorConfig(npc=0), POINTS)
    npc.reset(START, np.random.default_rng(0))
    npc.close()
    assert session.calls == []


def test_each_vehicle_has_a_speed_of_its_own_on_minicarla():
    session = Session()
    NpcTraffic(session, config(npc_speed=(0.4, 0.9)), POINTS).reset(START, np.random.default_rng(0))
    roles = session.calls[-1]
    percent = [re.fullmatch(r"minicarla:autopilot@(\d+):av_td3:here:1", role)[1] for role in roles]
    assert len(set(percent)) == 2
    assert all(40 <= int(share) <= 90 for share in percent)


def test_the_traffic_manager_is_told_percent_below_the_limit():
    session = Session(room=1)
    traffic = NpcTraffic(session, config(npc_speed=(0.7, 0.7), traffic="traffic_manager"), POINTS)
    traffic.reset(START, np.random.default_rng(0))
    assert [call for call in session.calls if call[0] == "slower"] == [("slower", 0, 30.0)]


def test_near_vehicles_stand_at_the_nearest_points():
    session = Session()
    NpcTraffic(session, config(npc_placement="near"), POINTS[::-1]).reset(START, np.random.default_rng(0))
    assert [command.point.location.x for command in session.batch] == [20.0, 40.0]


def test_mixed_is_near_in_about_every_second_episode_and_depends_on_its_seed_alone():
    def places(seed):
        session = Session()
        traffic = NpcTraffic(session, config(npc_placement="mixed"), POINTS[::-1])
        traffic.reset(START, np.random.default_rng(seed))
        return [command.point.location.x for command in session.batch]

    near = [places(seed) == [20.0, 40.0] for seed in range(40)]
    assert 10 < sum(near) < 36  # the nearest may also be drawn where any may
    assert near == [places(seed) == [20.0, 40.0] for seed in range(40)]
