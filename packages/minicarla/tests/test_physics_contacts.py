"""Bodies that touch: impulses, nothing passes through anything, walkers, hills."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicarla.bodies import Bodies
from minicarla.physics import MODELS, Physics, models
from minicarla.physics.contacts import Rectangle, Solids, meeting
from minicarla.physics.kernels import Motion

from .physics_world import DT, Box, Track, add_vehicle, add_walker, plain

WALL = Box((50.0, 0.0, 1.5), (0.1, 20.0, 1.5))


def test_a_wall_stops_a_car_with_the_impulse_that_its_momentum_needs():
    car = Track("vehicle.tesla.model3", Box((60.0, 0.0, 1.0), (1.0, 1.0, 1.0), solid=False), WALL)
    car.roll(15.0)
    while not car.contacts:
        before = car.bodies.velocity[0].copy()
        car.drive(DT)
    (contact,) = car.contacts
    assert (contact.a, contact.b, contact.static) == (1, -1, 1)
    change = car.bodies.velocity[0] - before
    assert contact.impulse[0] == pytest.approx(1845 * change[0], rel=0.02)
    assert contact.impulse[0] < -1845 * 14.0
    assert -4.0 < car.bodies.velocity[0, 0] <= 0.0, "it bounces little"
    assert contact.point[0] == pytest.approx(49.9, abs=1.0)
    assert abs(contact.point[1]) < 0.5 and 0.0 < contact.point[2] < 1.5


@pytest.mark.parametrize("speed", [5.0, 20.0, 40.0, 70.0, 110.0])
@pytest.mark.parametrize("dt", [0.02, 0.05, 0.1])
def test_nothing_passes_through_a_thin_wall(speed, dt):
    car = Track("vehicle.tesla.model3", WALL)
    car.roll(speed)
    for _ in range(round(12.0 / dt)):
        car.drive(dt, dt, throttle=1.0)
        assert car.place[0] + 2.39 < 50.0
    assert car.contacts
    assert abs(car.bodies.rotation[0, 1]) < 1.0, "straight on: no reason to turn"


def test_nothing_passes_through_a_pole_at_motorway_speed():
    car = Track("vehicle.tesla.model3", Box((30.0, 0.3, 2.0), (0.08, 0.08, 2.0)))
    car.roll(40.0)
    car.drive(2.0)
    assert car.contacts and car.place[0] < 30.0


def test_two_cars_head_on_share_one_contact_and_keep_their_momentum():
    bodies = Bodies()
    add_vehicle(bodies, 7, 0.0, 0.0, velocity=(14.0, 0.0, 0.0))
    add_vehicle(bodies, 9, 10.0, 0.2, yaw=180.0, velocity=(-10.0, 0.0, 0.0), mass=3690.0)
    physics = Physics(plain())
    for _ in range(20):
        before = bodies.velocity.copy()
        contacts = physics.step(bodies, DT)
        if contacts:
            break
    (contact,) = contacts
    assert (contact.a, contact.b, contact.static) == (7, 9, -1)
    momentum = bodies.mass[:, None] * (bodies.velocity - before)
    assert np.abs(momentum.sum(axis=0)).max() < 0.03 * np.abs(momentum[0]).max()
    assert contact.impulse[0] == pytest.approx(momentum[0, 0], rel=0.03)
    assert contact.impulse[0] < 0.0
    # They do not move into each other any more.
    assert bodies.velocity[0, 0] <= bodies.velocity[1, 0] + 0.1
    energy = 0.5 * bodies.mass * (bodies.velocity**2).sum(axis=1)
    assert energy.sum() < (0.5 * bodies.mass * (before**2).sum(axis=1)).sum()


def _crash(x: float, y: float, yaw: float, velocity: tuple[float, float], mass: float = 2500.0):
    """A car at 15 m/s along x and another there, neither on its tyres: (bodies, before, contact)."""
    bodies = Bodies()
    add_vehicle(bodies, 1, 0.0, 0.0, velocity=(15.0, 0.0, 0.0), weightless=True)
    add_vehicle(bodies, 2, x, y, yaw=yaw, velocity=(*velocity, 0.0), mass=mass, weightless=True)
    physics = Physics(plain())
    for _ in range(2000):
        before = bodies.position.copy(), bodies.velocity.copy()
        contacts = physics.step(bodies, 0.002)
        if contacts:
            return bodies, before, contacts[0]
    raise AssertionError("they miss each other")


@pytest.mark.parametrize(
    ("x", "y", "yaw", "velocity"),
    [
        (12.0, 0.0, 180.0, (-10.0, 0.0)),  # head on
        (12.0, 1.9, 180.0, (-25.0, 0.0)),  # the same, but only their corners meet
        (12.0, 0.6, 10.0, (3.0, 0.0)),  # from behind
        (10.0, 9.0, -90.0, (0.0, -12.0)),  # at a crossing
        (12.0, 2.0, 90.0, (0.0, 0.0)),  # into the side of one that stands
    ],
)
def test_a_crash_keeps_momentum_and_parts_with_the_restitution(x, y, yaw, velocity):
    bodies, (position, before), contact = _crash(x, y, yaw, velocity)
    mass, after = bodies.mass[:, None], bodies.velocity
    assert (mass * after).sum(axis=0) == pytest.approx((mass * before).sum(axis=0), abs=1e-6)
    change = mass * (after - before)
    assert contact.impulse == pytest.approx(change[0].tolist(), abs=1e-6)
    assert np.hypot(*contact.impulse[:2]) > 5e3
    # Angular momentum about the point of contact, to which no impulse there adds.
    arms = bodies.position[:, :2] - contact.point[:2]
    turn = np.radians(bodies.angular_velocity[:, 2])
    spin = bodies.mass * models.gyration(bodies.model[0]) * turn
    swing = bodies.mass * (arms[:, 0] * (after - before)[:, 1] - arms[:, 1] * (after - before)[:, 0])
    assert spin == pytest.approx(-swing, abs=0.02 * np.hypot(*change[0, :2]))
    # Along the normal the points that met part at 0.15 of the speed at which they met.
    reach = -arms
    points = after[:, :2] + turn[:, None] * np.stack([-reach[:, 1], reach[:, 0]], axis=1)
    met, part = (before[0] - before[1])[:2], points[0] - points[1]
    normal = _normal(position, bodies, (before[1] - before[0])[:2])
    assert part @ normal == pytest.approx(-0.15 * met @ normal, rel=0.1)
    energy = 0.5 * (bodies.mass * (after**2).sum(axis=1)).sum() + 0.5 * spin @ turn
    assert energy < 0.5 * (bodies.mass * (before**2).sum(axis=1)).sum()


def _normal(position, bodies, apart):
    boxes = [
        Rectangle(*position[k, :2], np.cos(yaw), np.sin(yaw), *bodies.extent[k, :2])
        for k, yaw in enumerate(np.radians(bodies.rotation[:, 1]))
    ]
    return np.array(meeting(*boxes, *apart, np.inf)[1:])


def test_cars_that_overlap_by_a_hand_meet_front_to_front():
    """Although they overlap less across than along: at 40 m/s they are a metre into each other by then."""
    bodies = Bodies()
    add_vehicle(bodies, 1, 0.0, 0.0, velocity=(20.0, 0.0, 0.0))
    add_vehicle(bodies, 2, 12.0, 1.9, yaw=180.0, velocity=(-20.0, 0.0, 0.0))
    physics = Physics(plain())
    contacts = [c for _ in range(12) for c in physics.step(bodies, DT)]
    assert contacts and contacts[0].impulse[0] < -20_000
    assert (np.abs(bodies.velocity[:, 0]) < 8.0).all()
    assert abs(bodies.rotation[0, 1]) > 10.0, "and swing round"


def test_a_contact_lies_between_the_heights_of_those_that_meet():
    for lift in (0.0, 30.0):
        bodies = Bodies()
        add_vehicle(bodies, 1, 0.0, 0.0, position=(0.0, 0.0, lift), velocity=(10.0, 0.0, 0.0))
        add_walker(bodies, 2, 5.0, 0.0, position=(5.0, 0.0, lift + 0.93))
        bodies.weightless[:] = True
        physics = Physics(plain(Box((9.0, 0.0, lift + 0.3), (0.2, 3.0, 0.3))))
        contacts = [c for _ in range(20) for c in physics.step(bodies, DT)]
        heights = {c.b: c.point[2] - lift for c in contacts if c.a == 1}
        assert heights[2] == pytest.approx(0.74, abs=0.05) and heights[-1] == pytest.approx(0.3)


def test_a_hit_beside_the_centre_turns_both():
    bodies = Bodies()
    add_vehicle(bodies, 1, 0.0, 0.0, velocity=(12.0, 0.0, 0.0))
    add_vehicle(bodies, 2, 8.0, 1.5)
    physics = Physics(plain())
    turned = np.zeros(2)
    for _ in range(10):
        if physics.step(bodies, DT):
            turned = bodies.angular_velocity[:, 2].copy()
            break
    # Struck on its left rear corner, the standing car turns its nose to the left, as does the other.
    assert (turned[0] > 5.0 and turned[1] > 5.0) or (turned[0] < -5.0 and turned[1] < -5.0)
    for _ in range(200):
        physics.step(bodies, DT)
        assert np.isfinite(bodies.position).all()


def test_a_car_that_pushes_against_a_wall_stays_there_and_keeps_reporting():
    car = Track("vehicle.tesla.model3", Box((5.0, 0.0, 1.5), (0.5, 20.0, 1.5)))
    car.drive(3.0, throttle=0.5)
    place, count = car.place, len(car.contacts)
    car.drive(2.0)
    assert np.hypot(*(car.place - place)[:2]) < 0.02
    assert len(car.contacts) > count
    car.drive(1.0, throttle=0.0, brake=1.0)
    rest = car.place
    car.drive(2.0)
    assert np.array_equal(car.place, rest)
    car.drive(2.0, brake=0.0, throttle=0.6, reverse=True)
    assert car.place[0] < rest[0] - 2.0, "it can back out"


def test_a_column_that_is_run_into_moves_as_one_and_separates():
    bodies = Bodies()
    add_vehicle(bodies, 0, -12.0, 0.0, velocity=(20.0, 0.0, 0.0))
    for k in range(1, 5):
        add_vehicle(bodies, k, 4.9 * k, 0.0, brake=1.0)
    physics = Physics(plain())
    contacts = [c for _ in range(100) for c in physics.step(bodies, DT)]
    assert {(c.a, c.b) for c in contacts} == {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert (np.diff(bodies.position[:, 0]) > 4.78).all()
    assert not bodies.velocity[1:].any()


def test_a_body_without_physics_is_hit_like_a_wall():
    bodies = Bodies()
    add_vehicle(bodies, 1, 0.0, 0.0, velocity=(10.0, 0.0, 0.0))
    add_vehicle(bodies, 2, 8.0, 0.0, simulate_physics=False)
    physics = Physics(plain())
    contacts = [c for _ in range(20) for c in physics.step(bodies, DT)]
    assert contacts and contacts[0].impulse[0] < -10_000
    assert bodies.position[1].tolist() == [8.0, 0.0, 0.0]
    assert bodies.velocity[0, 0] <= 0.0


def test_what_passes_above_is_not_touched():
    car = Track("vehicle.tesla.model3", Box((30.0, 0.0, 6.0), (2.0, 5.0, 1.0)))
    car.roll(20.0)
    car.drive(3.0)
    assert not car.contacts and car.place[0] > 40.0


def test_walkers_walk_turn_and_jump():
    bodies = Bodies()
    add_walker(bodies, 3, 1.0, 2.0, walk_direction=(0.0, 1.0, 0.0), walk_speed=1.5)
    physics = Physics(plain())
    for _ in range(40):
        physics.step(bodies, DT)
    assert bodies.position[0] == pytest.approx([1.0, 5.0, 0.93])
    assert bodies.rotation[0].tolist() == [0.0, 90.0, 0.0]
    assert bodies.velocity[0].tolist() == [0.0, 1.5, 0.0]
    bodies.jump[0] = True
    heights = []
    for _ in range(30):
        physics.step(bodies, DT)
        bodies.jump[0] = False
        heights.append(bodies.position[0, 2])
    assert 1.5 < max(heights) < 2.2 and heights[-1] == pytest.approx(0.93)
    bodies.walk_speed[0] = 0.0
    place = bodies.position[0].copy()
    physics.step(bodies, DT)
    assert np.array_equal(bodies.position[0], place) and not bodies.velocity[0].any()


def test_a_car_hits_a_walker_and_hardly_notices():
    bodies = Bodies()
    add_vehicle(bodies, 1, 0.0, 0.0, velocity=(15.0, 0.0, 0.0))
    add_walker(bodies, 2, 10.0, 0.0)
    physics = Physics(plain())
    contacts = []
    while not contacts:
        contacts = physics.step(bodies, DT)
    (contact,) = contacts
    assert {contact.a, contact.b} == {1, 2}
    assert bodies.velocity[0, 0] > 13.5
    assert bodies.velocity[1, 0] > bodies.velocity[0, 0] - 0.5


def test_walkers_are_stopped_by_walls_and_pass_each_other():
    bodies = Bodies()
    add_walker(bodies, 1, 49.0, 0.0, walk_direction=(1.0, 0.0, 0.0), walk_speed=2.0)
    add_walker(bodies, 2, 40.0, 5.0, walk_direction=(1.0, 0.0, 0.0), walk_speed=1.0)
    add_walker(bodies, 3, 44.0, 5.0, walk_direction=(-1.0, 0.0, 0.0), walk_speed=1.0)
    physics = Physics(plain(WALL))
    for _ in range(80):
        assert all(1 in (c.a, c.b) for c in physics.step(bodies, DT))
    assert bodies.position[0, 0] < 49.75
    assert bodies.position[1, 0] > 43.9 and bodies.position[2, 0] < 40.1


boxes = st.tuples(
    st.floats(-6, 6), st.floats(-6, 6), st.floats(-np.pi, np.pi), st.floats(0.2, 4), st.floats(0.2, 4)
)


def separation(dx, dy, yaw_a, yaw_b, extent_a, extent_b) -> np.ndarray:
    """Separating axes of two rectangles, written down anew: how deep they overlap, (n,)."""
    ca, sa, cb, sb = np.cos(yaw_a), np.sin(yaw_a), np.cos(yaw_b), np.sin(yaw_b)
    (la, wa), (lb, wb) = extent_a.T[:2], extent_b.T[:2]
    depths = []
    for x, y in ((ca, sa), (-sa, ca), (cb, sb), (-sb, cb)):
        reach_a = la * np.abs(x * ca + y * sa) + wa * np.abs(y * ca - x * sa)
        reach_b = lb * np.abs(x * cb + y * sb) + wb * np.abs(y * cb - x * sb)
        depths.append(reach_a + reach_b - np.abs(x * dx + y * dy))
    return np.min(depths, axis=0)


def motion_of(bodies: Bodies, *statics: Box) -> Motion:
    """All bodies as they are, with the pairs that are near each other found."""
    motion = Motion(bodies, Solids(statics))
    motion.begin()
    motion.stand(motion.lift)
    motion.find_near(DT)
    return motion


@settings(max_examples=150, deadline=None, derandomize=True)
@given(boxes, boxes)
def test_separating_axes_agree_with_points_and_the_push_separates(a, b):
    def overlap(a, b):
        bodies = Bodies()
        for k, (x, y, yaw, length, width) in enumerate((a, b)):
            add_vehicle(bodies, k, x, y, yaw=np.degrees(yaw))
            bodies.extent[k, :2] = length, width
        return motion_of(bodies).overlapping() == [(0, 1)]

    # Points of b in a: if any is well inside, the boxes overlap.
    u, v = (g.ravel() for g in np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)))
    x = b[0] + b[3] * u * np.cos(b[2]) - b[4] * v * np.sin(b[2]) - a[0]
    y = b[1] + b[3] * u * np.sin(b[2]) + b[4] * v * np.cos(b[2]) - a[1]
    along, across = x * np.cos(a[2]) + y * np.sin(a[2]), y * np.cos(a[2]) - x * np.sin(a[2])
    inside = bool(((np.abs(along) < a[3] - 1e-9) & (np.abs(across) < a[4] - 1e-9)).any())
    if inside:
        assert overlap(a, b)
    if overlap(a, b):
        rectangles = (Rectangle(x, y, np.cos(yaw), np.sin(yaw), *half) for x, y, yaw, *half in (a, b))
        depth, nx, ny = meeting(*rectangles, 0.0, 0.0, 0.0)
        assert depth >= 0.0
        assert not overlap(a, (b[0] + (depth + 1e-6) * nx, b[1] + (depth + 1e-6) * ny, *b[2:]))


def test_broad_phase_finds_every_pair():
    rng = np.random.default_rng(0)
    bodies = Bodies()
    for k in range(70):
        add_vehicle(bodies, k, *rng.uniform(0, 40, 2), yaw=rng.uniform(-180, 180))
        bodies.extent[k, :2] = rng.uniform(0.2, 4.0, 2)
    motion = motion_of(bodies)
    x, y = bodies.position[:, 0], bodies.position[:, 1]
    reach = np.hypot(bodies.extent[:, 0], bodies.extent[:, 1]) + 12.0 * DT * DT + 0.1
    near = {
        (a, b)
        for a in range(70)
        for b in range(a + 1, 70)
        if np.hypot(x[a] - x[b], y[a] - y[b]) < reach[a] + reach[b]
    }
    assert set(motion.pairs_near()) == near and len(near) > 100
    yaw = np.radians(bodies.rotation[:, 1])
    a, b = np.triu_indices(70, 1)
    depth = separation(x[b] - x[a], y[b] - y[a], yaw[a], yaw[b], bodies.extent[a], bodies.extent[b])
    touching = list(zip(a[depth > 0.0].tolist(), b[depth > 0.0].tolist(), strict=True))
    assert motion.overlapping() == touching and len(touching) > 20


def test_the_grid_of_solids_finds_what_every_box_alone_would():
    """Against the same boxes looked at one by one: a fleet among 300 random boxes."""
    rng = np.random.default_rng(1)
    statics = [
        Box((*rng.uniform(-150, 150, 2), 1.0), (*rng.uniform(0.1, 12, 2), 1.0), yaw=rng.uniform(-180, 180))
        for _ in range(300)
    ]
    bodies = Bodies()
    for k in range(200):
        model = MODELS[k % len(MODELS)].id
        add_vehicle(bodies, k, *rng.uniform(-180, 180, 2), yaw=rng.uniform(-180, 180), model=model)
    bodies.velocity[:, :2] = rng.uniform(-40, 40, (200, 2))
    found = {(a, -1 - b) for a, b in motion_of(bodies, *statics).overlapping() if b < 0}
    true = set()
    for m, static in enumerate(statics):
        depth = separation(
            static.centre[0] - bodies.position[:, 0],
            static.centre[1] - bodies.position[:, 1],
            np.radians(bodies.rotation[:, 1]),
            np.radians(static.yaw),
            bodies.extent,
            np.array([static.extent]),
        )
        true |= {(int(k), m) for k in np.flatnonzero(depth > 0.0)}
    assert found == true and len(true) > 20


class Ramp:
    """A straight road along x that climbs by a tenth from x = 20 to x = 60."""

    statics: list[Box] = []

    def __init__(self) -> None:
        s = np.arange(0.0, 101.0)
        z = 0.1 * np.clip(s - 20.0, 0.0, 40.0)
        points = np.stack([s, np.zeros_like(s), z], axis=1)
        self.lanes = [SimpleNamespace(id=0, kind="driving", s=s, points=points)]


def test_the_road_carries_a_car_up_a_hill():
    bodies = Bodies()
    add_vehicle(bodies, 1, 5.0, 0.0, velocity=(10.0, 0.0, 0.0), throttle=0.35)
    add_vehicle(bodies, 2, 40.0, 8.0, position=(40.0, 8.0, 2.0), hand_brake=True)
    add_walker(bodies, 3, 30.0, -8.0, walk_direction=(1.0, 0.0, 0.0), walk_speed=1.0)
    physics = Physics(Ramp())
    pitches = []
    while bodies.position[0, 0] < 90.0:
        physics.step(bodies, DT)
        x, _, z = bodies.position[0]
        assert z == pytest.approx(0.1 * np.clip(x - 20.0, 0.0, 40.0), abs=0.12)
        pitches.append(bodies.rotation[0, 0])
    assert bodies.position[1] == pytest.approx([40.0, 8.0, 2.0])
    x, _, z = bodies.position[2]
    assert z - bodies.extent[2, 2] + bodies.centre[2, 2] == pytest.approx(0.1 * (x - 20.0), abs=0.1)
    assert max(pitches) == pytest.approx(np.degrees(np.arctan(0.1)), abs=0.2)
    assert abs(pitches[-1]) < 0.1


def test_on_a_hill_a_car_rolls_back_unless_it_brakes():
    bodies = Bodies()
    add_vehicle(bodies, 1, 40.0, 0.0, brake=0.3, position=(40.0, 0.0, 2.0))
    physics = Physics(Ramp())
    for _ in range(60):
        physics.step(bodies, DT)
    assert bodies.position[0] == pytest.approx([40.0, 0.0, 2.0])
    bodies.brake[0] = 0.0
    for _ in range(60):
        physics.step(bodies, DT)
    assert bodies.position[0, 0] < 38.0 and bodies.velocity[0, 0] < -1.0
