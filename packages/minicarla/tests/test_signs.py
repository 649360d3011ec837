"""Stop, yield and speed limit signs: from the map to CARLA's client."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from minicarla import maps
from minicarla.geometry import Pose
from minicarla.maps import traffic_signs
from minicarla.world import blueprints
from minicarla.world.blueprints import AUTOPILOT_ROLE
from minicarla.world.world import World

from . import small_maps
from .small_maps import LIMIT, ONE_LANE, STOP, YIELD, document, geometry, road, section, signal


def signs_of(text: str) -> dict[str, maps.Sign]:
    return {sign.sign_id: sign for sign in traffic_signs(maps.parse(text, "signs"))}


def street(*signals: str, heading: float = 0.0, rule: str = "") -> str:
    """A straight road of 100 m with a lane of 3.5 m each way."""
    text = road(
        1, 100.0, section(ONE_LANE, ONE_LANE), plan=geometry(100.0, heading=heading), signals="".join(signals)
    )
    return document(text.replace('junction="-1"', f'junction="-1" rule="{rule}"') if rule else text)


def test_kinds():
    signs = signs_of(
        street(
            signal(1, STOP, 50.0, -4.0),
            signal(2, YIELD, 50.0, -4.0),
            signal(3, LIMIT, 50.0, -4.0, subtype="90", value=30.0),
            signal(4, LIMIT, 50.0, -4.0, value=60.0, unit="km/h"),
            signal(5, LIMIT, 50.0, -4.0, value=30.0, unit="mph"),
            signal(6, LIMIT, 50.0, -4.0, value=10.0, unit="m/s"),
            signal(7, LIMIT, 50.0, -4.0, value=70.0),
            signal(8, LIMIT, 50.0, -4.0),  # no limit is stated
            signal(9, STOP, 50.0, -4.0, name="Stencil_STOP"),  # painted on the road
            signal(10, "101", 50.0, -4.0),
            signal(11, small_maps.LIGHT, 50.0, -4.0, dynamic="yes"),
        )
    )
    assert {number: sign.kind for number, sign in signs.items()} == {
        "1": "traffic.stop",
        "2": "traffic.yield",
        "3": "traffic.speed_limit.90",
        "4": "traffic.speed_limit.60",
        "5": "traffic.speed_limit.48",
        "6": "traffic.speed_limit.36",
        "7": "traffic.speed_limit.70",
    }


@pytest.mark.parametrize("heading", [0.0, 0.5 * math.pi, 0.7])
def test_the_trigger_covers_the_lane_shortly_before_the_sign(heading):
    sign = signs_of(street(signal(1, STOP, 50.0, -4.0, lanes=(-1, -1)), heading=heading))["1"]
    cos, sin = math.cos(heading), math.sin(heading)

    def at(s: float, right: float) -> tuple[float, float]:
        return s * cos + right * sin, -s * sin + right * cos  # CARLA's frame: y points to the other side

    assert sign.pose[:3] == pytest.approx((*at(50.0, 4.0), 0.0))
    assert (sign.pose.yaw - 90.0 + math.degrees(heading)) % 360.0 == pytest.approx(0.0, abs=1e-9)
    assert sign.trigger is not None
    assert sign.trigger.centre == pytest.approx((*at(47.0, 1.75), 0.0))
    along, across = 1.5, 0.25 * 3.5
    wide = (abs(cos) * along + abs(sin) * across, abs(sin) * along + abs(cos) * across, 1.0)
    assert sign.trigger.extent == pytest.approx(wide)


def test_whom_a_sign_is_for():
    """Its validity says so; without one, its orientation."""

    def right(text: str, number: str = "1") -> float:
        trigger = signs_of(text)[number].trigger
        assert trigger is not None
        return trigger.centre[1]

    assert right(street(signal(1, STOP, 50.0, -4.0))) == pytest.approx(1.75)
    assert right(street(signal(1, STOP, 50.0, 4.0, orientation="-"))) == pytest.approx(-1.75)
    assert right(street(signal(1, STOP, 50.0, 4.0, lanes=(1, 1)))) == pytest.approx(-1.75)
    assert right(street(signal(1, STOP, 50.0, 4.0, orientation="none"))) == pytest.approx(0.0)
    assert right(street(signal(1, STOP, 50.0, 4.0), rule="LHT")) == pytest.approx(-1.75)
    assert signs_of(street(signal(1, STOP, 50.0, -4.0, lanes=(-7, -5))))["1"].trigger is None


def test_the_box_of_a_speed_limit_ends_at_the_sign_and_stays_on_the_lane():
    for s, middle in ((50.0, 50.0 - 0.35 * 3.5), (0.0, 0.0), (1e4, 100.0 - 0.35 * 3.5)):
        sign = signs_of(street(signal(1, LIMIT, s, -4.0, subtype="30", lanes=(-1, -1))))["1"]
        assert sign.trigger is not None
        assert sign.trigger.centre == pytest.approx((middle, 1.75, 0.0))
        assert sign.trigger.extent == pytest.approx(3 * (0.35 * 3.5,))
    against = signs_of(street(signal(1, LIMIT, 50.0, 4.0, subtype="30", lanes=(1, 1))))["1"]
    assert against.trigger is not None and against.trigger.centre[0] == pytest.approx(50.0 + 0.35 * 3.5)


def test_a_sign_in_a_junction_takes_effect_before_it():
    text = small_maps.crossing()
    here = signal(77, STOP, 1.0, -4.0, lanes=(-1, -1))
    there = '<signalReference id="78" s="1" t="-4" orientation="+"><validity fromLane="-1" toLane="-1"/>'
    there += "</signalReference>"
    inside = text.replace(
        'junction="100">', f'junction="100"><signals>{here}</signals>', 1
    )  # the first connecting road comes from street 1
    sign = signs_of(inside)["77"]
    assert sign.trigger is not None
    assert sign.trigger.centre == pytest.approx((-12.0 - 3.0, 1.75, 0.0))
    # A reference on another road extends the trigger to there.
    stop = signal(78, STOP, 10.0, -5.0, lanes=(-1, -1))
    referred = inside.replace(here, there).replace("<signals>", f"<signals>{stop}", 1)
    trigger = signs_of(referred)["78"].trigger
    assert trigger is not None
    low, high = trigger.centre[0] - trigger.extent[0], trigger.centre[0] + trigger.extent[0]
    assert (low, high) == pytest.approx((-52.0 + 7.0 - 1.5, -12.0 - 3.0 + 1.5))


CLIENT = """
import json
world = client.get_world()
world.tick()
landmarks, out = world.get_map().get_all_landmarks(), []
for actor in world.get_actors().filter("traffic.*"):
    assert isinstance(actor, carla.TrafficSign), actor
    assert not actor.destroy()
    if isinstance(actor, carla.TrafficLight):
        continue
    t, box = actor.get_transform(), actor.trigger_volume
    corners = [t.transform(v) for v in box.get_local_vertices()]
    middle = t.transform(carla.Location(box.location))
    landmark = [m.transform for m in landmarks if (world.get_traffic_sign(m) or world).id == actor.id]
    out.append({
        "kind": actor.type_id,
        "tags": list(actor.semantic_tags),
        "place": [t.location.x, t.location.y, t.rotation.yaw],
        "middle": [middle.x, middle.y, middle.z],
        "extent": [box.extent.x, box.extent.y, box.extent.z],
        "low": [min(getattr(c, k) for c in corners) for k in "xyz"],
        "high": [max(getattr(c, k) for c in corners) for k in "xyz"],
        "landmark": [[m.location.x, m.location.y, m.rotation.yaw] for m in landmark],
    })
print(json.dumps(out))
"""


def test_the_client_finds_the_actors_and_their_triggers(serve, tmp_path):
    text = small_maps.crossing()
    path = tmp_path / "signs.xodr"
    path.write_text(text)
    signs = traffic_signs(maps.parse(text, "signs"))
    assert sorted(sign.kind for sign in signs) == ["traffic.speed_limit.30", "traffic.stop", "traffic.yield"]
    seen = json.loads(serve(map=str(path)).client(CLIENT))
    assert len(seen) == len(signs)
    seen.sort(key=lambda actor: actor["kind"])
    for actor, sign in zip(seen, sorted(signs, key=lambda sign: sign.kind), strict=True):
        assert actor["kind"] == sign.kind and actor["tags"] == [8]
        assert actor["place"] == pytest.approx([sign.pose.x, sign.pose.y, sign.pose.yaw], abs=1e-4)
        # The signal as CARLA's client reads it from the map: the actor is turned by a right angle.
        (landmark,) = actor["landmark"]
        assert actor["place"][:2] == pytest.approx(landmark[:2], abs=0.01)
        assert (actor["place"][2] - landmark[2]) % 360.0 == pytest.approx(90.0, abs=0.01)
        # scenario_runner compares with centre and extent along the axes of the world.
        assert sign.trigger is not None
        centre, extent = np.array(sign.trigger.centre), np.array(sign.trigger.extent)
        assert actor["middle"] == pytest.approx(centre.tolist(), abs=1e-3)
        assert actor["extent"] == pytest.approx(extent.tolist(), abs=1e-4)
        assert actor["low"] == pytest.approx((centre - extent).tolist(), abs=1e-3)
        assert actor["high"] == pytest.approx((centre + extent).tolist(), abs=1e-3)


SEEN = """
import json
import numpy as np
world = synchronous()
world.tick()
stop = world.get_actors().filter("traffic.stop")[0]
Label = carla.CityObjectLabel
boxes = world.get_level_bbs(Label.TrafficSigns)
things = world.get_environment_objects(Label.TrafficSigns)
box = min(boxes, key=lambda box: box.location.distance(stop.get_location()))
across = box.rotation.get_forward_vector()  # towards the traffic that has to stop
eye = stop.get_location() + across * 6.0 + carla.Location(z=1.6)
library = world.get_blueprint_library()
camera = library.find("sensor.camera.instance_segmentation")
camera.set_attribute("image_size_x", "80")
camera.set_attribute("image_size_y", "60")
yaw = box.rotation.yaw + 180.0
camera = world.spawn_actor(camera, carla.Transform(eye, carla.Rotation(yaw=yaw)))
pictures = queue.Queue()
camera.listen(pictures.put)
image = message(pictures, world.tick())
pixels = np.frombuffer(image.raw_data, np.uint8).reshape(60, 80, 4).astype(int)
mine = (pixels[..., 2] == 8) & (pixels[..., 1] + 256 * pixels[..., 0] == stop.id)
camera.stop()
camera.destroy()
print(json.dumps({
    "boxes": len(boxes), "things": len(things),
    "away": [box.location.x - stop.get_location().x, box.location.y - stop.get_location().y],
    "height": box.location.z, "pixels": int(mine.sum()), "middle": bool(mine[:, 36:44].any()),
}))
"""


def test_signs_are_seen_and_listed(serve, tmp_path):
    path = tmp_path / "signs.xodr"
    path.write_text(small_maps.crossing())
    seen = json.loads(serve(map=str(path)).client(SEEN))
    assert seen["boxes"] == seen["things"] == 3
    assert seen["away"] == pytest.approx([0.0, 0.0], abs=1e-3) and 2.0 < seen["height"] < 3.0
    assert seen["pixels"] > 20 and seen["middle"]


def test_speed_limits_that_are_objects():
    """RoadRunner, which made CARLA's towns, writes them so; CARLA makes signals of them."""
    objects = "".join(
        f'<object id="{number}" name="{name}" s="{s}" t="-4.0" zOffset="0.0" hdg="0.0" orientation="-"/>'
        for number, (name, s) in enumerate(
            (
                ("Speed_60", 30.0),
                ("speed_30", 60.0),
                ("Speed_STATIC_90", 80.0),
                ("Speed_bump", 50.0),
                ("Tree", 9.0),
            )
        )
    )
    plain = street(signal(9, STOP, 50.0, -4.0))
    signs = signs_of(plain.replace("<signals>", f"<objects>{objects}</objects><signals>"))
    assert {number: sign.kind for number, sign in signs.items()} == {
        "0": "traffic.speed_limit.60",
        "1": "traffic.speed_limit.30",
        "2": "traffic.speed_limit.90",
        "9": "traffic.stop",
    }


def test_maps_without_signs_have_none():
    assert traffic_signs(maps.load("grid")) == []


def limits_street(*signals: str) -> str:
    """A straight road of 200 m with a lane of 3.5 m each way; the map's own limit is 50 km/h."""
    return document(road(1, 200.0, section(ONE_LANE, ONE_LANE), signals="".join(signals)))


PASSES = """
import json
world = synchronous(dt={dt})
library = world.get_blueprint_library()
def drive(x, y, yaw, speed, ticks, kind="vehicle.tesla.model3"):
    place = carla.Transform(carla.Location(x, y, 0.5), carla.Rotation(yaw=yaw))
    car = world.spawn_actor(library.find(kind), place)
    for _ in range(4):  # a lane's limit is looked up every fourth tick
        world.tick()
    car.enable_constant_velocity(carla.Vector3D(x=speed))
    seen = []
    for _ in range(ticks):
        world.tick()
        seen.append([round(car.get_location().x, 2), round(car.get_speed_limit(), 3)])
    car.destroy()
    world.tick()
    return seen
print(json.dumps({{
    "there": drive(20.0, 1.75, 0.0, {speed}, {ticks}),
    "back": drive(180.0, -1.75, 180.0, {speed}, {ticks}),
    "bicycle": drive(20.0, 1.75, 0.0, {speed}, {ticks}, "vehicle.bh.crossbike"),
}}))
"""


@pytest.mark.parametrize(("dt", "speed", "ticks"), [(0.05, 20.0, 150), (0.5, 36.0, 8)])
def test_a_vehicle_that_passes_a_speed_limit_gets_it(serve, tmp_path, dt, speed, ticks):
    """It keeps it until the next sign, as in CARLA; signs of the other lane do not concern it."""
    path = tmp_path / "limits.xodr"
    path.write_text(
        limits_street(
            signal(1, LIMIT, 60.0, -4.0, subtype="30", lanes=(-1, -1)),
            signal(2, LIMIT, 120.0, -4.0, subtype="90", lanes=(-1, -1)),
            signal(3, LIMIT, 100.0, 4.0, subtype="70", lanes=(1, 1), orientation="-"),
        )
    )
    script = PASSES.format(dt=dt, speed=speed, ticks=ticks)
    seen = json.loads(serve(map=str(path)).client(script).splitlines()[-1])
    step = dt * speed
    for who, length in (("there", 4.8), ("bicycle", 1.6)):
        for x, limit in seen[who]:
            at, front = x - 0.5 * length, x + 0.5 * length
            if 30.0 < front < 60.0 - 2.5:
                assert limit == 50.0, (who, x)
            elif front > 61.0 + step and front < 117.0:
                assert limit == 30.0, (who, x)
            elif at > 121.0 + step:
                assert limit == 90.0, (who, x)
    assert {limit for x, limit in seen["there"] if x > 62.0 + step} == {30.0, 90.0}
    for x, limit in seen["back"]:
        if x < 96.0 - step:
            assert limit == 70.0, x
    assert {limit for x, limit in seen["back"] if 106.0 < x < 170.0} == {50.0}


def test_the_servers_own_drivers_obey_a_speed_limit(tmp_path):
    path = tmp_path / "limits.xodr"
    path.write_text(limits_street(signal(1, LIMIT, 60.0, -4.0, subtype="20", lanes=(-1, -1))))
    world = World(str(path), synchronous=True)
    start = world.roadmap.lanes[next(lane.id for lane in world.roadmap.driving if lane.lane_id == -1)].at(5.0)
    pose = Pose(*start[0].tolist(), yaw=start[1])._replace(z=0.5)
    car = world.spawn(blueprints.describe("vehicle.tesla.model3", role_name=AUTOPILOT_ROLE), pose)
    fastest = {True: 0.0, False: 0.0}
    for _ in range(400):
        world.tick()
        row = world.bodies.row(car.id)
        x, speed = (
            float(world.bodies.position[row, 0]),
            3.6 * float(np.hypot(*world.bodies.velocity[row, :2])),
        )
        if x < 57.0 or 85.0 < x < 180.0:
            fastest[x < 57.0] = max(fastest[x < 57.0], speed)
    assert fastest[True] > 25.0
    assert 12.0 < fastest[False] < 21.0
