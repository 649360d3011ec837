"""The server's own drivers: they keep their lanes, their distance and the rules, and never jam for good."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minicarla import maps
from minicarla.bodies import Bodies
from minicarla.physics import MODELS, Physics, find
from minicarla.traffic import Traffic
from minicarla.traffic.kernels import Occupancy
from minicarla.traffic.network import Network
from minicarla.world import blueprints

from .physics_world import DT, add_vehicle, add_walker


@pytest.fixture(scope="module")
def town():
    return maps.load("town")


@pytest.fixture(scope="module")
def grid():
    return maps.load("grid")


@pytest.fixture(scope="module")
def loop():
    return maps.load("loop")


class Run:
    """Drivers on a map, with what was seen of them."""

    def __init__(
        self,
        roadmap,
        count: int,
        seed: int = 0,
        models: tuple[str, ...] = ("vehicle.tesla.model3",),
        physics: Physics | None = None,
    ):
        self.roadmap = roadmap
        self.bodies = Bodies()
        self.physics, self.traffic = physics or Physics(roadmap), Traffic(roadmap, seed)
        self.junction = np.array([lane.junction for lane in roadmap.lanes])
        self.contacts: list[object] = []
        self.speeds: list[np.ndarray] = []
        taken: list[tuple[float, float]] = []
        for k in np.random.default_rng(seed).permutation(len(roadmap.spawn_points)):
            if len(taken) == count:
                break
            point = roadmap.spawn_points[k]
            if all(np.hypot(point.x - x, point.y - y) > 11.0 for x, y in taken):
                taken.append((point.x, point.y))
                self.add(len(taken), point, models[len(taken) % len(models)])
        assert len(taken) == count

    def add(
        self,
        actor_id: int,
        pose,
        model: str = "vehicle.tesla.model3",
        driven: bool = True,
        pace: float = 1.0,
    ) -> None:
        add_vehicle(self.bodies, actor_id, pose.x, pose.y, model=model, position=pose[:3], rotation=pose[3:])
        if driven:
            self.traffic.add(actor_id, pace)

    def drive(self, ticks: int, watch: Callable[[int], None] | None = None) -> None:
        for tick in range(ticks):
            self.traffic.lights.step(DT)
            self.traffic.decide(self.bodies, DT)
            self.contacts += self.physics.step(self.bodies, DT)
            self.speeds.append(np.hypot(*self.bodies.velocity[:, :2].T))
            if watch is not None:
                watch(tick)

    def beside(self) -> np.ndarray:
        """Metres from the lane's centre, 0 inside junctions."""
        lane, _, lateral = self.roadmap.locate_many(self.bodies.position[:, :2])
        assert (lane >= 0).all(), "somebody left the road"
        return np.where(self.junction[lane] < 0, np.abs(lateral), 0.0)

    def longest_wait(self) -> float:
        """Seconds that any vehicle stood without a break."""
        still = np.array(self.speeds) < 0.1
        waited = longest = np.zeros(still.shape[1])
        for row in still:
            waited = np.where(row, waited + DT, 0.0)
            longest = np.maximum(longest, waited)
        return float(longest.max())


@pytest.mark.slow
def test_twenty_drivers_in_town_keep_lane_distance_and_pace(town):
    run = Run(town, 20, models=("vehicle.tesla.model3", "vehicle.mini.cooper_s", "vehicle.mercedes.sprinter"))
    worst = [0.0]
    run.drive(2000, lambda tick: worst.append(float(run.beside().max())))
    assert not run.contacts
    assert max(worst) < 0.8
    assert np.mean(run.speeds) > 4.0
    assert run.longest_wait() < 60.0
    lanes = {lane for d in run.traffic.table.drivers for lane, _, _ in d.lanes}
    assert len(lanes) > 30, "they spread over the town"


def test_a_crowd_does_not_jam(grid):
    """As many as fit on a grid with four-way junctions and lights, for two minutes."""
    run = Run(grid, 50, seed=2)
    run.drive(2400)
    assert not run.contacts
    assert run.longest_wait() < 90.0
    assert np.mean(run.speeds[-600:]) > 2.0
    # Everybody got somewhere in the second minute.
    assert (np.sum(run.speeds[1200:], axis=0) * DT > 30.0).all()


def test_all_stop_behind_a_standing_car_and_go_on_when_it_does(loop):
    run = Run(loop, 0)
    lane = loop.driving[0].id
    same_way = [p for p in loop.spawn_points if loop.locate(p.x, p.y)[0] == lane]
    obstacle = same_way[-1]
    run.add(1, obstacle, driven=False)
    run.bodies.brake[0] = 1.0
    ahead = same_way[:-1][::-2][:4]
    assert len(ahead) >= 3
    for k, pose in enumerate(ahead):
        run.add(2 + k, pose)
    run.drive(800)
    assert not run.contacts
    assert (run.speeds[-1] < 0.1).all()
    gaps = np.hypot(*np.diff(run.bodies.position[:, :2], axis=0).T) - 2 * MODELS[0].extent[0]
    assert (gaps > 1.0).all() and (gaps < 6.0).all()
    run.traffic.add(1)
    run.drive(200)
    assert (run.speeds[-1] > 1.0).all() and not run.contacts


def test_they_stop_for_a_pedestrian_on_the_lane(loop):
    run = Run(loop, 0)
    pose = loop.spawn_points[0]
    run.add(1, pose)
    lane, s, _ = loop.locate(pose.x, pose.y)
    assert s + 30.0 < loop.lanes[lane].length
    (x, y, _), _ = loop.lanes[lane].at(s + 30.0)
    add_walker(run.bodies, 2, x, y)
    run.drive(300)
    assert not run.contacts
    away = float(np.hypot(*(run.bodies.position[0] - run.bodies.position[1])[:2]))
    assert run.speeds[-1][0] < 0.1 and 2.4 + 1.0 < away < 2.4 + 6.0


def test_they_do_not_mind_who_drives_on_the_other_lane(loop):
    """A car that stands on the oncoming lane is no obstacle."""
    alone, company = Run(loop, 0), Run(loop, 0)
    pose = loop.spawn_points[0]
    for run in (alone, company):
        run.add(1, pose)
    distance = [np.hypot(p.x - pose.x, p.y - pose.y) for p in loop.spawn_points]
    lane = loop.locate(pose.x, pose.y)[0]
    other = [
        p
        for p, d in zip(loop.spawn_points, distance, strict=True)
        if loop.locate(p.x, p.y)[0] != lane and 20.0 < d < 80.0
    ]
    for k, p in enumerate(other):
        company.add(2 + k, p, driven=False)
        company.bodies.brake[-1] = 1.0
    assert len(other) > 3
    alone.drive(200)
    company.drive(200)
    assert np.array_equal(alone.bodies.position[0], company.bodies.position[0])


def test_nobody_enters_on_red(grid):
    run = Run(grid, 25, seed=1)
    lights = run.traffic.lights
    assert lights.lights
    of_lane = {lane: light for light in lights.lights for lane in light.lanes}
    before: dict[int, int] = {}
    entered = []

    def watch(tick: int) -> None:
        for driver in run.traffic.table.drivers:
            row = run.bodies.row(driver.actor_id)
            k = run.traffic.table.drivers.index(driver)
            s = run.traffic.table.s[k, run.traffic.table.at[k]] + run.bodies.extent[row, 0]
            lane = next((i for i, a, b in driver.lanes if a + 0.5 <= s < b), -1)
            if lane in of_lane and before.get(driver.actor_id) != lane:
                entered.append(of_lane[lane].state)
            before[driver.actor_id] = lane

    run.drive(1600, watch)
    assert len(entered) > 20
    assert entered.count(0) == 0, "0 is red"
    assert entered.count(2) > 0.8 * len(entered)


def test_a_client_crossing_a_junction_is_let_through(town):
    """A vehicle that nobody here drives crosses at 8 m/s; a driver who would meet it waits."""
    network = Network(town)
    lane, other = next(
        (town.lanes[a], town.lanes[b])
        for a, conflicts in network.conflicts.items()
        for b in sorted(conflicts)
        if _straight(town.lanes[a]) and town.lanes[a].predecessors and town.lanes[b].predecessors
        and not set(town.lanes[a].successors) & set(town.lanes[b].successors)
        and abs(np.sin(np.radians(town.lanes[a].headings[0] - town.lanes[b].headings[0]))) > 0.7
    )  # fmt: skip
    run = Run(town, 0)
    approach = town.lanes[other.predecessors[0]]
    (x, y, z), yaw = approach.at(approach.length - 30.0)
    run.add(1, type(town.spawn_points[0])(x, y, z, 0.0, yaw, 0.0))
    driver_path = [other.id]

    class Choice:
        def choice(self, options):
            return driver_path[0] if driver_path[0] in options else options[0]

    entry = town.lanes[lane.predecessors[0]]
    (x, y, z), yaw = entry.at(entry.length - 25.0)
    add_vehicle(run.bodies, 2, x, y, yaw=yaw)
    run.traffic.admit()
    run.traffic.table.drivers[0].random = Choice()
    velocity = 8.0 * np.cos(np.radians(yaw)), 8.0 * np.sin(np.radians(yaw)), 0.0

    def hold(tick: int) -> None:
        run.bodies.velocity[1], run.bodies.rotation[1, 1] = velocity, yaw

    run.drive(400, hold)
    assert not run.contacts
    assert np.hypot(*run.bodies.position[0, :2] - town.lanes[other.id].points[-1, :2]) > 1.0
    assert sum(v[0] for v in run.speeds) * DT > 40.0, "it goes on afterwards"


class Rails:
    """A client's vehicle that goes its way through a junction whoever is there, and may slow down on it."""

    def __init__(self, run: Run, way: list, start: float, fast: float, slow: float, when: float):
        self.run, self.s, self.time = run, start, 0.0
        self.fast, self.slow, self.when = fast, slow, when
        self.x, self.y, self.yaw = (
            np.concatenate([getattr(track, name) for track in way]) for name in ("x", "y", "yaw")
        )
        self.path = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(self.x), np.diff(self.y)))])
        self.row = add_vehicle(run.bodies, 2, 0.0, 0.0)
        self.move(0)

    def move(self, tick: int) -> None:
        bodies, row = self.run.bodies, self.row
        speed = max(self.slow, self.fast - 4.0 * max(0.0, self.time - self.when))
        self.time, self.s = self.time + DT, self.s + speed * DT
        x, y, yaw = (np.interp(self.s, self.path, v) for v in (self.x, self.y, np.unwrap(self.yaw)))
        bodies.position[row, :2], bodies.rotation[row, 1] = (x, y), np.degrees(yaw)
        bodies.velocity[row, :2], bodies.angular_velocity[row] = (
            (speed * np.cos(yaw), speed * np.sin(yaw)),
            0.0,
        )


@pytest.mark.slow
def test_whichever_way_clients_come_through_a_junction_drivers_let_them(town):
    """Straight on and turning, early and late, at a steady pace or slowing down: nobody gets in the way."""
    network = Network(town)
    rng = np.random.default_rng(3)
    pairs = [
        (a, b)
        for a, others in network.conflicts.items()
        for b in sorted(others)
        if all(
            len(network.tracks[i].predecessors) == 1
            and network.tracks[network.tracks[i].predecessors[0]].length > 45.0
            and network.tracks[i].successors
            for i in (a, b)
        )
    ]
    moved = []
    physics = Physics(town)
    for trial in range(40):
        mine, theirs = pairs[int(rng.integers(len(pairs)))]
        run = Run(town, 0, seed=trial, physics=physics)
        before = network.tracks[network.tracks[mine].predecessors[0]]
        (x, y, z), yaw = town.lanes[before.id].at(before.length - rng.uniform(25.0, 40.0))
        run.add(1, type(town.spawn_points[0])(x, y, z, 0.0, yaw, 0.0))
        run.bodies.velocity[0, :2] = 7.0 * np.cos(np.radians(yaw)), 7.0 * np.sin(np.radians(yaw))
        run.traffic.admit()
        run.traffic.table.drivers[0].random = _Turns([mine])
        way = [network.tracks[theirs].predecessors[0], theirs, network.tracks[theirs].successors[0]]
        start = network.tracks[way[0]].length - rng.uniform(15.0, 43.0)
        fast, when = rng.uniform(4.0, 10.0), rng.uniform(1.0, 3.0)
        slow = rng.uniform(2.0, 4.0) if trial % 2 else fast
        ego = Rails(run, [network.tracks[lane] for lane in way], start, fast, slow, when)
        while ego.s < network.tracks[way[0]].length + network.tracks[theirs].length + 12.0:
            run.drive(1, ego.move)
            assert not run.contacts, f"trial {trial}: {mine} meets {theirs} after {ego.time:.1f} s"
        moved.append(sum(v[0] for v in run.speeds) * DT)
    assert np.mean(moved) > 15.0, "without standing still at every junction"


class _Turns:
    """Instead of a random generator: takes these lanes wherever there is a choice."""

    def __init__(self, lanes: list[int]) -> None:
        self.lanes = lanes

    def choice(self, options):
        return next((lane for lane in options if lane in self.lanes), options[0])


def test_nobody_is_put_back_on_the_road_where_a_client_could_see_it(loop):
    run = Run(loop, 1, seed=3)
    run.drive(20)
    lane, s, _ = loop.locate(*run.bodies.position[0, :2])
    (x, y, _), _ = loop.lanes[lane].at(s)
    run.bodies.position[0], run.bodies.simulate_physics[0] = (x + 4.0, y + 4.0, 0.0), False  # it stays there
    add_vehicle(run.bodies, 2, x + 30.0, y + 25.0)
    run.drive(700)
    assert run.bodies.position[0].tolist() == [x + 4.0, y + 4.0, 0.0]
    run.bodies.position[1, 0] += 100.0
    run.drive(5)
    assert np.hypot(*(run.bodies.position[0, :2] - (x + 4.0, y + 4.0))) > 3.0


def test_a_driver_backs_up_from_a_client_that_stands_before_it_in_a_junction(town):
    network = Network(town)
    lane = next(
        i for i, t in network.tracks.items()
        if t.junction >= 0 and t.length > 14.0 and len(t.predecessors) == 1
        and network.tracks[t.predecessors[0]].length > 30.0
    )  # fmt: skip
    track = network.tracks[lane]
    run = Run(town, 0)
    (x, y, z), yaw = town.lanes[track.predecessors[0]].at(network.tracks[track.predecessors[0]].length - 20.0)
    run.add(1, type(town.spawn_points[0])(x, y, z, 0.0, yaw, 0.0))
    run.traffic.admit()
    run.traffic.table.drivers[0].random = _Turns([lane])
    run.drive(90)  # on its way in
    assert run.traffic.table.drivers[0].held
    add_vehicle(run.bodies, 2, float(track.x[-1]), float(track.y[-1]), np.degrees(track.yaw[-1]) + 180.0)
    run.bodies.brake[1] = 1.0
    nose = []
    run.drive(400, lambda tick: nose.append(run.bodies.position[0, :2].copy()))
    away = np.hypot(*(np.array(nose) - run.bodies.position[1, :2]).T)
    assert not run.contacts
    assert away[np.argmin(away) :].max() > away.min() + 1.5


def _straight(lane) -> bool:
    return abs((lane.headings[-1] - lane.headings[0] + 180.0) % 360.0 - 180.0) < 1.0 and lane.length > 10.0


def test_the_seed_decides_and_equal_seeds_are_equal_to_the_bit(town):
    def path(seed: int) -> bytes:
        run = Run(town, 12, seed=0)
        run.traffic = Traffic(town, seed)
        for actor_id in run.bodies:
            run.traffic.add(actor_id)
        run.drive(300)
        return run.bodies.position.tobytes()

    assert path(4) == path(4)
    assert path(4) != path(5)


def test_drivers_come_and_go(town):
    run = Run(town, 12)
    for round_ in range(6):
        run.drive(60)
        gone = list(run.bodies)[round_]
        run.traffic.remove(gone)
        run.bodies.remove(gone)
        run.speeds.clear()
    for actor_id in list(run.bodies):
        run.traffic.remove(actor_id)
        run.bodies.remove(actor_id)
    assert len(run.traffic) == 0
    assert not any(abs(metres) > 1e-9 for metres in run.traffic.room.taken.values()), "no room stays taken"
    run.drive(2)


def test_a_vehicle_that_was_moved_finds_its_way_from_there(town):
    run = Run(town, 1)
    run.drive(40)
    far = max(town.spawn_points, key=lambda p: np.hypot(p.x - run.bodies.position[0, 0], p.y))
    run.bodies.position[0], run.bodies.rotation[0] = far[:3], far[3:]
    run.bodies.velocity[0] = 0.0
    run.drive(200)
    assert run.speeds[-1][0] > 3.0
    assert run.beside()[0] < 0.8


@pytest.mark.parametrize("side", [8.0, -8.0])  # among houses and walls, and on the oncoming side
@pytest.mark.parametrize("turn", [0.0, 90.0, 180.0, -90.0])
def test_a_vehicle_that_was_knocked_off_the_road_gets_back(loop, turn, side):
    """By itself, or put back after half a minute."""
    run = Run(loop, 1, seed=3)
    run.drive(20)
    lane, s, _ = loop.locate(*run.bodies.position[0, :2])
    (x, y, _), yaw = loop.lanes[lane].at(s)
    spot = x - side * np.sin(np.radians(yaw)), y + side * np.cos(np.radians(yaw))
    run.bodies.position[0], run.bodies.rotation[0] = (*spot, 0.0), (0.0, yaw + turn, 0.0)
    run.bodies.velocity[0] = 0.0
    for _ in range(700):
        run.drive(1)
        lane, _, beside = loop.locate_many(run.bodies.position[:, :2])
        if lane[0] >= 0 and abs(beside[0]) < 0.5 and run.speeds[-1][0] > 3.0:
            return
    pytest.fail("it is still away from the road")


def test_a_vehicle_away_from_every_lane_brakes(town):
    run = Run(town, 1)
    run.bodies.position[0] = (town.bounds[0] - 300.0, town.bounds[1] - 300.0, 0.0)
    run.drive(20)
    assert run.bodies.brake[0] > 0.5 and run.bodies.throttle[0] == 0.0
    assert np.isfinite(run.bodies.position).all()


@pytest.mark.parametrize("yaw", [0.0, 33.0, 90.0, 117.0])
def test_paint_leaves_no_hole_in_a_body(yaw):
    """Whatever the size and the heading, what a car's path could strike is painted, but for the rim."""
    occupancy = Occupancy((0.0, 0.0, 100.0, 100.0))
    rng = np.random.default_rng(1)
    for model in ("vehicle.tesla.model3", "vehicle.mitsubishi.fusorosa", "vehicle.bh.crossbike"):
        bodies = Bodies()
        m = MODELS[find(model)]
        add_vehicle(bodies, 1, 50.13, 49.87, yaw=yaw, model=model)
        angle = np.radians(bodies.rotation[:, 1])
        occupancy.paint(bodies.position, bodies.extent, np.cos(angle), np.sin(angle))
        u, v = rng.uniform(-1, 1, (2, 4000))
        along, across = u * (m.extent[0] + 0.4), v * (m.extent[1] + 0.8)
        x = 50.13 + along * np.cos(angle) - across * np.sin(angle)
        y = 49.87 + along * np.sin(angle) + across * np.cos(angle)
        assert (occupancy.at(occupancy.cells(x, y)) == 0).mean() > 0.999


def test_crossing_and_joining_lanes_conflict_and_parallel_ones_do_not(grid):
    network = Network(grid)
    for a, others in network.conflicts.items():
        for b in others:
            assert a in network.conflicts[b] and a != b
            assert grid.lanes[a].junction == grid.lanes[b].junction
            assert not set(grid.lanes[a].predecessors) & set(grid.lanes[b].predecessors)
    joining = [
        (a.id, b.id)
        for a in grid.driving
        for b in grid.driving
        if a.id < b.id and a.junction >= 0 and set(a.successors) & set(b.successors) and not
        set(a.predecessors) & set(b.predecessors)
    ]  # fmt: skip
    assert joining and all(b in network.conflicts[a] for a, b in joining)
    opposite = [
        (a.id, b.id)
        for a in grid.driving
        for b in grid.driving
        if a.junction >= 0 and a.junction == b.junction and _straight(a) and _straight(b)
        and np.cos(np.radians(a.headings[0] - b.headings[0])) < -0.99
    ]  # fmt: skip
    assert opposite and not any(b in network.conflicts[a] for a, b in opposite)


def test_a_share_of_the_speed_limit(loop):
    run = Run(loop, 0)
    run.add(1, loop.spawn_points[0], pace=0.4)
    run.drive(300)
    limit = max(lane.speed_limit for lane in loop.lanes)
    assert np.max(run.speeds) == pytest.approx(0.4 * limit, rel=0.1)


@pytest.mark.parametrize(
    ("role", "share"),
    [
        ("minicarla:autopilot", 1.0),
        ("minicarla:autopilot:a@50:b", 1.0),
        ("minicarla:autopilot@60", 0.6),
        ("minicarla:autopilot@0:me", 0.0),
        ("minicarla:autopilot@6x", 1.0),
    ],
)
def test_the_share_stands_in_the_role(role, share):
    assert blueprints.pace_of(role) == share
