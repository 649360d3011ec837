"""Pedestrians that walk by themselves: those of the client's crowd, and the server's own."""

from __future__ import annotations

import numpy as np
import pytest

from minicarla import maps
from minicarla.bodies import WALKER
from minicarla.geometry import Pose
from minicarla.maps import navmesh
from minicarla.maps.navmesh import Area
from minicarla.world import blueprints, population, walkers
from minicarla.world.walkers import navigation_of
from minicarla.world.world import World


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The client keeps the mesh below its home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _areas(mesh, points) -> list[Area | None]:
    """Where points are; a centimetre beside the mesh is on it (the client calculates in float32)."""
    polygons = [mesh.find(x, y, slack=0.01) for x, y, *_ in points]
    return [None if polygon is None else mesh.areas[polygon] for polygon in polygons]


def _printed(output: str, key: str) -> np.ndarray:
    """Rows of numbers that a client's script printed after a key."""
    rows = [line.split()[1:] for line in output.splitlines() if line.startswith(key + " ")]
    assert rows, output
    return np.array(rows, float)


_CROWD = """
import math
world = synchronous()
world.set_pedestrians_seed(3)
world.set_pedestrians_cross_factor({factor})
library = world.get_blueprint_library()
people = list(library.filter("walker.pedestrian.*"))
def show(key, *numbers):
    print(key, *numbers)
for _ in range(200):
    place = world.get_random_location_from_navigation()
    show("random", place.x, place.y, place.z)
walkers = []
while len(walkers) < 20:
    place = world.get_random_location_from_navigation()
    actor = world.try_spawn_actor(people[len(walkers)], carla.Transform(place))
    if actor is not None:
        walkers.append(actor)
world.tick()
brain = library.find("controller.ai.walker")
controllers = [world.spawn_actor(brain, carla.Transform(), walker) for walker in walkers]
world.tick()
for controller in controllers:
    controller.start()
    controller.go_to_location(world.get_random_location_from_navigation())
    controller.set_max_speed(1.4)
starts = [walker.get_location() for walker in walkers]
for tick in range({ticks}):
    world.tick()
    if tick % 10 == 9:
        for walker in walkers:
            place = walker.get_location()
            show("place", place.x, place.y, place.z - walker.bounding_box.extent.z)
for walker, start in zip(walkers, starts):
    velocity, control = walker.get_velocity(), walker.get_control()
    show("far", walker.get_location().distance(start))
    show("speed", math.hypot(velocity.x, velocity.y), control.speed)
    extent = walker.bounding_box.extent
    show("box", extent.x, extent.y, extent.z)
for controller, walker in zip(controllers, walkers):
    controller.stop()
    controller.destroy()
    walker.destroy()
world.tick()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "factor"), [("town", 0.0), ("loop", 0.0), ("grid", 0.7)])
def test_the_clients_crowd_walks_the_sidewalks(serve, cache, name, factor):
    running = serve(map=name)
    output = running.client(_CROWD.format(factor=factor, ticks=400))
    mesh = navmesh.build(maps.load(name))
    random = _printed(output, "random")
    assert set(_areas(mesh, random)) == {Area.SIDEWALK}
    assert len({tuple(row) for row in random}) == 200 and np.ptp(random[:, 0]) > 100.0
    places = _printed(output, "place")
    assert np.abs(places[:, 2]).max() < 1e-3, "walkers' feet are on the ground"
    where = _areas(mesh, places)
    assert None not in where
    assert where.count(Area.SIDEWALK) > 0.7 * len(where)
    if not factor:
        assert Area.ROAD not in where, "without a cross factor roads are crossed on crossings alone"
    assert _printed(output, "far").min() > 3.0
    speed = _printed(output, "speed")
    assert np.allclose(speed[:, 0], speed[:, 1], atol=1e-3), "velocity and control say the same"
    assert 1.0 < np.median(speed[:, 0]) < 1.5
    assert _printed(output, "box").min() > 0.1
    kept = [path.name for path in cache.rglob("*.bin")]
    assert kept == [mesh.file_name.rsplit("/", 1)[1]]


def test_a_walker_gets_where_it_is_sent(serve):
    """Across the road: the far side of a crossing."""
    mesh = navmesh.build(maps.load("loop"))
    crossing = mesh.areas.index(Area.CROSSWALK)
    sides = [p for p in mesh.neighbours[crossing] if p >= 0 and mesh.areas[p] is Area.SIDEWALK]
    assert len(sides) == 2
    start, goal = (mesh.vertices[list(mesh.polygons[side])].mean(0) for side in sides)
    output = serve(map="loop").client(f"""
world = synchronous()
start, goal = carla.Location(*{start.tolist()}), carla.Location(*{goal.tolist()})
library = world.get_blueprint_library()
walker = world.spawn_actor(library.filter("walker.*")[0], carla.Transform(start))
world.tick()
controller = world.spawn_actor(library.find("controller.ai.walker"), carla.Transform(), walker)
assert controller.parent.id == walker.id
world.tick()
controller.start()
controller.go_to_location(goal)
for _ in range(400):
    world.tick()
    place = walker.get_location()
    print("left", place.distance(carla.Location(goal.x, goal.y, place.z)))
    print("place", place.x, place.y)
""")
    left = _printed(output, "left")[:, 0]
    assert left[5] > 5.0 and left.min() < 1.2
    arrived = int(left.argmin())
    assert Area.CROSSWALK in _areas(mesh, _printed(output, "place")[:arrived])


@pytest.mark.slow
def test_every_order_of_leaving_and_every_new_episode(serve, cache):
    """Walker first, controller first, both in a batch; worlds loaded anew while somebody walks."""
    running = serve(map="loop")
    text = cache / "town.xodr"
    text.write_text(maps.load("town").opendrive)
    output = running.client(
        """
world = synchronous()
def somebody():
    library = world.get_blueprint_library()
    place = world.get_random_location_from_navigation()
    walker = world.spawn_actor(library.filter("walker.*")[3], carla.Transform(place))
    world.tick()
    controller = world.spawn_actor(library.find("controller.ai.walker"), carla.Transform(), walker)
    world.tick()
    controller.start()
    controller.go_to_location(world.get_random_location_from_navigation())
    for _ in range(20):
        world.tick()
    assert walker.get_location().distance(place) > 0.5
    return walker, controller
def left():
    for _ in range(5):
        world.tick()
    return len(world.get_actors().filter("*walker*"))
walker, controller = somebody()
controller.stop(); controller.destroy(); walker.destroy()
assert left() == 0
walker, controller = somebody()
controller.destroy(); world.tick(); walker.destroy()
assert left() == 0
walker, controller = somebody()
walker.destroy()
assert left() == 0
walker, controller = somebody()
client.apply_batch_sync([carla.command.DestroyActor(a) for a in (walker, controller)], True)
assert left() == 0
somebody()
for load in (lambda: client.reload_world(False), lambda: client.load_world("grid", False),
             lambda: client.generate_opendrive_world(open(TEXT).read())):
    world = load()
    world.tick()
    somebody()
print("done")
""".replace("TEXT", repr(str(text)))
    )
    assert "done" in output
    assert running.server.world.roadmap.name == "OpenDriveMap"


def test_a_vehicle_that_hits_one_of_the_crowd_is_not_stopped_dead(serve):
    output = serve(map="loop").client(
        """
world = synchronous()
world.set_pedestrians_cross_factor(1.0)
library = world.get_blueprint_library()
pose = world.get_map().get_spawn_points()[0]
ahead = pose.location + 12.0 * pose.get_forward_vector()
car = world.spawn_actor(library.find("vehicle.tesla.model3"), pose)
sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), car)
hits = queue.Queue()
sensor.listen(hits.put)
walker = world.spawn_actor(library.filter("walker.*")[0], carla.Transform(ahead))
world.tick()
controller = world.spawn_actor(library.find("controller.ai.walker"), carla.Transform(), walker)
world.tick()
controller.start()
controller.set_max_speed(0.05)
car.apply_control(carla.VehicleControl(throttle=1.0))
speed = {}
while not hits.qsize() and len(speed) < 200:
    frame = world.tick()
    speed[frame] = car.get_velocity().length()
hit = hits.get(timeout=5.0)
print("hit", speed[hit.frame - 1], speed[hit.frame], int(hit.other_actor.id == walker.id))
for _ in range(10):
    world.tick()  # the client's crowd gives it up for dead, and destroys its controller
assert walker.get_control().speed == 0.0
assert not [a for a in world.get_actors() if a.id == controller.id]
sensor.stop()
sensor.destroy()
sys.stdout.flush()
import os
os._exit(0)  # a process that listened to a sensor may abort in its exit
"""
    )
    before, after, walker = _printed(output, "hit")[0]
    assert walker and before > 5.0
    # 75 kg at rest against 1.8 t.
    assert 0.85 * before < after < 1.02 * before + 0.3


def test_a_walker_without_physics_is_no_wall():
    """A car may be upon a walker of the crowd before its client knows."""
    world = World("loop")
    pose = world.roadmap.spawn_points[0]
    yaw = np.radians(pose.yaw)
    ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    car = world.spawn(blueprints.describe("vehicle.tesla.model3"), pose._replace(z=0.0))
    spot = np.array(pose[:3]) + 6.0 * ahead
    walker = world.spawn(blueprints.describe("walker.pedestrian.0001"), Pose(spot[0], spot[1], 1.0))
    world.episode.mechanics.set_simulate_physics(walker.id, False)
    world.episode.mechanics.set_velocity(car.id, 15.0 * ahead)
    for _ in range(10):
        world.tick()
        if world.episode.view.contacts:
            break
    (hit,) = world.episode.view.contacts
    assert {hit.a, hit.b} == {car.id, walker.id}
    assert np.linalg.norm(world.bodies.velocity[world.bodies.row(car.id)]) > 13.0


def test_files_are_those_of_the_map_and_no_others(serve, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"secret")
    wire = serve(map="loop").wire()
    assert wire.call("get_required_files", "") == [] == wire.call("get_required_files", "TM")
    (name,) = wire.call("get_required_files", "Nav")
    data = wire.call("request_file", name)
    assert data == wire.call("get_navigation_mesh") == navmesh.build(maps.load("loop")).file
    folder = name.rsplit("/", 1)[0]
    for other in (
        "", ".", "/", "..", str(secret), "/etc/passwd", "../" * 12 + "etc/passwd", f"{folder}/../{name}",
        f"/{name}", f"{name}/", f"{name}\0", f"{name}/../../secret.bin", name.upper(), "x" * 100_000,
        "minicarla/Nav/town.bin", __file__,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="no file"):
            wire.call("request_file", other)
    for nonsense in (None, 3, [name], b"x"):
        with pytest.raises(RuntimeError):
            wire.call("request_file", nonsense)


# ---------------------------------------------------------------------- the server's own


def _walk(world: World, ticks: int) -> np.ndarray:
    """Places of all walkers after each tick: (ticks, walkers, 3)."""
    rows = np.flatnonzero(world.bodies.kind == WALKER)
    places = []
    for _ in range(ticks):
        world.tick()
        places.append(world.bodies.position[rows].copy())
    return np.array(places)


@pytest.fixture(scope="module")
def town():
    return navmesh.build(maps.load("town"))


@pytest.mark.slow
def test_the_servers_own_walk_the_sidewalks(town):
    world = World("town", walkers=20, seed=5)
    places = _walk(world, 1500)
    assert places.shape == (1500, 20, 3)
    steps = np.hypot(*np.diff(places, axis=0)[..., :2].transpose(2, 0, 1))
    assert steps.max() < 1.7 * 0.05, "nobody jumps"
    assert (steps.sum(0) > 60.0).all(), "nobody stands around for long"
    assert (np.hypot(*(places - places[0])[..., :2].transpose(2, 0, 1)).max(0) > 20.0).all()
    # A step may end a few centimetres beyond an edge before the next one turns.
    seen = places[::25].reshape(-1, 3)
    areas = [None if p is None else town.areas[p] for p in (town.find(x, y, 0.05) for x, y, _ in seen)]
    assert set(areas) == {Area.SIDEWALK, Area.CROSSWALK}
    assert areas.count(Area.SIDEWALK) > 0.8 * len(areas)
    heights = world.bodies.extent[world.bodies.kind == WALKER, 2]
    assert np.allclose(places[10:, :, 2], heights)


@pytest.mark.slow
def test_the_servers_own_are_the_same_for_the_same_seed():
    """With vehicles, for whom they wait."""

    def walked(seed: int) -> bytes:
        return _walk(World("grid", walkers=15, npc=10, seed=seed), 300).tobytes()

    first = walked(1)
    assert first == walked(1)
    assert first != walked(2)


def test_new_episodes_have_pedestrians_too_and_the_role_makes_one():
    world = World("loop", walkers=3)
    world.load_named("grid", reset_settings=True)
    assert np.count_nonzero(world.bodies.kind == WALKER) == 3
    assert world.episode.walkers.pedestrians is not None and len(world.episode.walkers.pedestrians) == 3
    (x, y, z), (u, v, w) = ((*place,) for place in _two_places(navigation_of(world.roadmap)))
    role = blueprints.describe("walker.pedestrian.0001", role_name="minicarla:autopilot:me")
    mine = world.spawn(role, Pose(x, y, z + 1.0))
    other = world.spawn(blueprints.describe("walker.pedestrian.0002"), Pose(u, v, w + 1.0))
    places = _walk(world, 100)
    assert np.hypot(*(places[-1] - places[0])[3, :2]) > 3.0
    assert np.hypot(*(places[-1] - places[0])[4, :2]) == 0.0, "who was not asked to walk stands"
    assert len(world.episode.walkers.pedestrians) == 4
    assert world.destroy(mine.id) and world.destroy(other.id)
    _walk(world, 2)
    assert len(world.episode.walkers.pedestrians) == 3


def _two_places(mesh):
    sidewalks = [p for p, area in enumerate(mesh.areas) if area is Area.SIDEWALK and mesh.size(p) > 20.0]
    return [mesh.vertices[list(mesh.polygons[p])].mean(0) for p in (sidewalks[2], sidewalks[9])]


def test_without_pedestrians_there_is_nothing_to_do(monkeypatch):
    asked = []
    monkeypatch.setattr(walkers, "navigation_of", asked.append)
    monkeypatch.setattr(population, "navigation_of", asked.append)
    world = World("loop", npc=1)
    _walk(world, 3)
    assert world.episode.walkers.pedestrians is None
    assert not asked, "no navigation mesh is computed"


class Kerb:
    """A pedestrian of the server's own that is about to cross, and a car that need not move to be fast."""

    def __init__(self) -> None:
        world = World("loop")
        self.mesh = mesh = navigation_of(world.roadmap)
        assert mesh is not None
        self.crossing, kerb = next(
            (k, p)
            for k, area in enumerate(mesh.areas)
            if area is Area.CROSSWALK
            for p in mesh.neighbours[k]
            if p >= 0 and mesh.areas[p] is Area.SIDEWALK
        )
        lane_id, s, _ = world.roadmap.locate(*mesh.vertices[list(mesh.polygons[self.crossing])].mean(0)[:2])
        point, yaw = world.roadmap.lanes[lane_id].at(s - 15.0)
        self.ahead = np.array([np.cos(np.radians(yaw)), np.sin(np.radians(yaw)), 0.0])
        x, y, z = mesh.vertices[list(mesh.polygons[kerb])].mean(0)
        role = blueprints.describe("walker.pedestrian.0001", role_name="minicarla:autopilot")
        self.walker = world.spawn(role, Pose(x, y, z + 1.0))
        self.car = world.spawn(blueprints.describe("vehicle.tesla.model3"), Pose(*point.tolist(), yaw=yaw))
        self.bodies, self.pedestrians = world.bodies, world.episode.walkers.pedestrians
        self.walk(1)
        (self.person,) = self.pedestrians._people
        while self.person.to != self.crossing:  # where it goes is drawn at random
            self.person.at, self.person.came = kerb, -1
            self.pedestrians._go(0)

    def walk(self, ticks: int, held: bool = False) -> None:
        """Let time pass for the pedestrian alone."""
        row = self.bodies.row(self.walker.id)
        for _ in range(ticks):
            self.pedestrians.decide(self.bodies, 0.05)
            if not held:
                step = self.bodies.walk_direction[row] * self.bodies.walk_speed[row] * 0.05
                self.bodies.position[row] += step

    def drive(self, speed: float) -> None:
        self.bodies.velocity[self.bodies.row(self.car.id)] = speed * self.ahead


def test_pedestrians_wait_for_vehicles_before_they_cross():
    kerb = Kerb()
    kerb.drive(8.0)
    kerb.walk(200)
    assert kerb.person.at != kerb.crossing and kerb.person.to == kerb.crossing
    assert kerb.bodies.walk_speed[kerb.bodies.row(kerb.walker.id)] == 0.0
    kerb.drive(-8.0)  # away
    kerb.walk(40)
    assert kerb.person.at == kerb.crossing
    for _ in range(400):
        kerb.walk(1)
        if kerb.mesh.areas[kerb.person.at] is Area.SIDEWALK:
            break
    assert kerb.mesh.areas[kerb.person.at] is Area.SIDEWALK, "on the other side"


def test_pedestrians_who_have_waited_for_long_go_before_those_that_can_brake():
    kerb = Kerb()
    kerb.drive(12.0)
    kerb.walk(1000)
    assert kerb.person.at != kerb.crossing, "this one cannot brake any more"
    kerb.drive(3.0)
    kerb.walk(40)
    assert kerb.person.at == kerb.crossing


def test_a_pedestrian_that_does_not_get_on_turns_back():
    kerb = Kerb()
    kerb.walk(10, held=True)
    assert kerb.person.to == kerb.crossing
    kerb.walk(80, held=True)
    assert kerb.person.to != kerb.crossing


def test_pedestrians_on_the_road_let_cars_pass_and_walk_around_those_that_stand():
    kerb = Kerb()
    kerb.drive(0.0)
    while kerb.person.at != kerb.crossing:
        kerb.walk(1)
    kerb.walk(10)
    bodies, car, walker = kerb.bodies, kerb.bodies.row(kerb.car.id), kerb.bodies.row(kerb.walker.id)
    way = bodies.walk_direction[walker].copy()
    # The car across its way, its flank before it.
    bodies.rotation[car, 1] = np.degrees(np.arctan2(way[1], way[0])) + 90.0
    bodies.position[car, :2] = (bodies.position[walker] + 1.8 * way)[:2]
    for velocity, speed in ((5.0, 0.0), (0.0, kerb.person.speed)):
        kerb.drive(velocity)
        kerb.walk(1, held=True)
        assert bodies.walk_speed[walker] == pytest.approx(speed, rel=0.01)
    assert abs(bodies.walk_direction[walker] @ way) < 0.2, "along the flank"
