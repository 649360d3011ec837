"""The rasteriser: where things land on the picture, what hides what, and that all cameras agree."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from minicarla import maps
from minicarla.bodies import Bodies
from minicarla.geometry import Pose, compose, rotation_matrix
from minicarla.sensors.boxes import static_boxes
from minicarla.sensors.raster.geometry import FAR, STATIC_IDS, GeometryPicture
from minicarla.sensors.raster.ground import ground_of
from minicarla.sensors.raster.kernels import Pyramid
from minicarla.sensors.raster.mesh import body_mesh
from minicarla.sensors.raster.painter import NEAR, CameraScene, Eye, PinholeCamera, eye_of
from minicarla.sensors.raster.picture import ColourPicture, ground_homography
from minicarla.sensors.raster.terrain import terrain_of
from minicarla.sensors.tags import Tag

from .sensor_world import CLEAR, StandInMap, Static, Strip, add_car, traffic

EGO = Pose(0.0, 1.75, 1.5, -5.0, 0.0, 0.0)


def pixel(pose: Pose, point, width: int, height: int, fov: float) -> tuple[float, float, float]:
    """CARLA's pinhole, written down anew: (u, v, depth)."""
    focal = width / (2.0 * np.tan(np.radians(fov) / 2.0))
    ahead, right, up = rotation_matrix(*pose[3:]).T @ (np.array(point) - pose[:3])
    return 0.5 * width + focal * right / ahead, 0.5 * height - focal * up / ahead, ahead


def rays(pose: Pose, width: int, height: int, fov: float) -> np.ndarray:
    """(height, width, 3) directions through the middles of pixels, of length 1 along the optical axis."""
    focal = width / (2.0 * np.tan(np.radians(fov) / 2.0))
    v, u = np.mgrid[0:height, 0:width] + 0.5
    local = np.stack([np.ones_like(u), (u - 0.5 * width) / focal, -(v - 0.5 * height) / focal], axis=-1)
    return local @ rotation_matrix(*pose[3:]).T


def inner(mask: np.ndarray, by: int = 1) -> np.ndarray:
    """The mask without its outermost pixels."""
    size = 2 * by + 1
    return cv2.erode(mask.astype(np.uint8), np.ones((size, size), np.uint8), borderValue=1).astype(bool)


@pytest.fixture(scope="module")
def town():
    return maps.load("town")


@pytest.mark.parametrize(("width", "height", "fov"), [(84, 84, 90.0), (800, 600, 90.0), (320, 160, 60.0)])
@pytest.mark.parametrize("roll", [0.0, 20.0])
def test_corners_land_where_the_pinhole_says(width, height, fov, roll):
    box = Static("wall", (12.0, -0.5, 1.0), (1.0, 2.0, 1.0), 25.0)
    pose = Pose(0.3, 0.4, 1.6, -7.0, 3.0, roll)
    picture = GeometryPicture(width, height, fov)
    picture.render(StandInMap([box], town=False), Bodies(), pose)
    shown = picture.instance == STATIC_IDS
    turn = rotation_matrix(0.0, box.yaw, 0.0)
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    corners = np.array([pixel(pose, turn @ (s * box.extent) + box.centre, width, height, fov) for s in signs])
    rows, columns = np.nonzero(shown)
    # Pixel i covers [i, i + 1); an outline may add one pixel.
    assert columns.min() == pytest.approx(corners[:, 0].min(), abs=1.0)
    assert columns.max() + 1 == pytest.approx(corners[:, 0].max(), abs=1.0)
    assert rows.min() == pytest.approx(corners[:, 1].min(), abs=1.0)
    assert rows.max() + 1 == pytest.approx(corners[:, 1].max(), abs=1.0)
    seen = picture.depth[shown]
    assert seen.min() >= corners[:, 2].min() - 1e-3 and seen.max() <= corners[:, 2].max() + 1e-3


def test_depth_is_the_rays_own_on_faces_and_ground():
    box = Static("wall", (9.0, 0.3, 1.2), (1.0, 2.0, 1.2), 33.0)
    world = StandInMap([box], town=False)
    pose = Pose(0.0, 0.0, 1.5, -4.0, 2.0, 3.0)
    picture = GeometryPicture(200, 150, 80.0)
    picture.render(world, Bodies(), pose)
    direction = rays(pose, 200, 150, 80.0)
    length = np.sqrt((direction**2).sum(-1))
    hit, row, _ = static_boxes(world)[0].cast(pose[:3], (direction / length[..., None]).reshape(-1, 3), 500.0)
    expected = (hit / length.ravel()).reshape(150, 200)
    inside = inner((row >= 0).reshape(150, 200), 2)
    assert inside.sum() > 1000
    off = np.abs(picture.depth[inside] / expected[inside] - 1.0)
    assert (off < 2e-5).mean() > 0.98  # all but the pixels on the edge between two faces
    assert off.max() < 0.02
    ground = inner((picture.instance == 0) & (direction[..., 2] < -0.01))
    np.testing.assert_allclose(picture.depth[ground], (1.5 / -direction[..., 2])[ground], rtol=1e-5)
    assert (
        picture.depth[direction[..., 2] > 0.01][picture.instance[direction[..., 2] > 0.01] == 0] == FAR
    ).all()


def test_cameras_agree_pixel_by_pixel():
    world, bodies = StandInMap(), Bodies()
    add_car(bodies, 7, 9.0, 1.75, colour=(20, 60, 220))
    add_car(bodies, 9, 16.0, -1.75, 180.0)
    picture = GeometryPicture(240, 180, 90.0)
    picture.render(world, bodies, EGO)
    tag, instance, depth = picture.tag, picture.instance, picture.depth
    assert (((instance == 7) | (instance == 9)) == (tag == Tag.CAR)).all()
    assert ((tag == Tag.SKY) == (depth == FAR)).all()
    assert 9.0 - 2.4 - 0.1 < depth[instance == 7].min() < depth[instance == 7].max() < 9.0 + 2.5
    ground = np.isin(tag, [Tag.ROADS, Tag.SIDEWALKS, Tag.ROAD_LINES, Tag.TERRAIN])
    assert (instance[ground] == 0).all()
    statics = {int(k) for k in np.unique(instance[instance >= STATIC_IDS])}
    assert {world.statics[k - STATIC_IDS].tag for k in statics} == {
        int(t) for t in np.unique(tag[instance >= STATIC_IDS])
    }
    # The colour picture changes where, and only where, the car comes or goes.
    colour = ColourPicture(240 * 2, 180 * 2, 90.0)
    assert colour.samples == 1
    picture = GeometryPicture(240 * 2, 180 * 2, 90.0)
    picture.render(world, bodies, EGO)
    seen = picture.instance == 7
    with_car = colour.render(world, bodies, CLEAR, EGO).astype(int)
    bodies.remove(7)
    without = colour.render(world, bodies, CLEAR, EGO).astype(int)
    changed = (np.abs(with_car - without).sum(-1) > 0).astype(np.uint8)
    assert (changed[inner(seen)] == 1).mean() > 0.99
    near = cv2.dilate(seen.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    rows, columns = np.nonzero(seen)
    shadow = np.zeros_like(near)  # on the ground, right under the car
    shadow[(rows.min() + rows.max()) // 2 : rows.max() + 12, columns.min() - 12 : columns.max() + 12] = True
    assert not changed[~near & ~shadow].any()


def random_boxes(seed: int, count: int = 60) -> list[Static]:
    """Boxes of all sizes that do not touch each other."""
    rng = np.random.default_rng(seed)
    out: list[Static] = []
    while len(out) < count:
        x, y = rng.uniform(3, 70), rng.uniform(-40, 40)
        half = (rng.uniform(0.1, 7.0), rng.uniform(0.1, 5.0), rng.uniform(0.3, 4.0))
        radius = np.hypot(half[0], half[1])
        if np.hypot(x, y) < radius + 1.0:
            continue
        if all(
            np.hypot(x - s.centre[0], y - s.centre[1]) > radius + np.hypot(*s.extent[:2]) + 0.05 for s in out
        ):
            kind = "building" if half[0] > 3.0 else "wall"
            out.append(Static(kind, (x, y, half[2]), half, rng.uniform(0, 180)))
    return out


def row_of_houses() -> list[Static]:
    """The hard case: long boxes wall to wall, with small things right in front of them and behind."""
    out: list[Static] = []
    for side in (-1, 1):
        for k in range(6):
            x = 4.0 + 14.2 * k
            out.append(Static("building", (x + 7.0, side * 10.0, 4.0), (7.0, 4.0, 4.0)))
            for dx in (0.5, 6.0, 13.0):
                out.append(Static("pole", (x + dx, side * 5.6, 2.0), (0.3, 0.3, 2.0)))
                out.append(Static("wall", (x + dx, side * 15.0, 6.0), (1.0, 0.3, 6.0)))
    return out


@pytest.mark.parametrize(
    "statics",
    [random_boxes(1), random_boxes(2), random_boxes(3, 120), row_of_houses()],
    ids=["few", "other", "many", "street"],
)
@pytest.mark.parametrize("yaw", [0.0, 17.0, -40.0])
def test_nearest_box_wins_on_every_pixel(statics, yaw):
    world = StandInMap(statics, town=False)
    pose = Pose(0.0, 0.0, 1.5, -3.0, yaw, 0.0)
    size = 160
    picture = GeometryPicture(size, size, 90.0)
    picture.render(world, Bodies(), pose)
    direction = rays(pose, size, size, 90.0).reshape(-1, 3)
    direction /= np.sqrt((direction**2).sum(-1, keepdims=True))
    _, row, _ = static_boxes(world)[0].cast(pose[:3], direction, 240.0)
    expected = np.where(row >= 0, row + STATIC_IDS, 0).reshape(size, size)
    # Away from edges: where the 3 x 3 neighbours agree.
    low = cv2.erode(expected.astype(np.float32), np.ones((5, 5)))
    high = cv2.dilate(expected.astype(np.float32), np.ones((5, 5)))
    smooth = low == high
    wrong = (picture.instance != expected) & smooth & (expected > 0)
    assert smooth.mean() > 0.5
    assert wrong.sum() <= 2, np.unique(picture.instance[wrong])


def test_occlusion_drops_nothing_that_shows(town):
    picture = GeometryPicture(168, 168, 90.0)
    bodies = Bodies()
    for k, spawn in enumerate(town.spawn_points[::9]):
        add_car(bodies, 100 + k, spawn.x, spawn.y, spawn.yaw)
    poses = [
        compose(Pose(p.x, p.y, 0.0, 0.0, p.yaw, 0.0), Pose(1.3, 0.0, z, pitch, turn, 0.0))
        for p in town.spawn_points[4::23]
        for z, pitch, turn in ((1.5, -5.0, 0.0), (6.0, -20.0, 70.0), (30.0, -25.0, 30.0))
    ]

    def pictures() -> list[np.ndarray]:
        out = []
        for pose in poses:
            picture.render(town, bodies, pose)
            out.append(picture.instance)
        return out

    culled = pictures()
    picture._scene._look.hides = False
    for one, other in zip(culled, pictures(), strict=True):
        assert (one == other).all()


def test_a_polygon_covers_the_pixels_whose_middles_it_contains(town):
    """Against each pixel's middle tried against each edge; thin polygons have at least a pixel a row."""
    camera = PinholeCamera(168, 120, 90.0)
    scene, canvas = CameraScene(camera), np.zeros((120, 168), np.uint32)
    v, u = np.mgrid[0:120, 0:168] + 0.5
    bodies, tried, thin = Bodies(), 0, 0
    add_car(bodies, 1, *town.spawn_points[3][:2], town.spawn_points[3].yaw)
    for spawn in town.spawn_points[3::40]:
        pose = compose(Pose(spawn.x, spawn.y, 0.0, 0.0, spawn.yaw), Pose(-4.0, 0.3, 1.5, -3.0, 5.0))
        seen = scene.look(town, bodies, eye_of(pose))
        expected, sure = np.zeros(canvas.shape, np.uint32), np.ones(canvas.shape, bool)
        for number, corners in enumerate(seen.corners(), 1):
            # Twice the area that the pixel's middle and each edge span.
            edges = zip(corners, np.roll(corners, -1, axis=0) - corners, strict=True)
            away = [(u - x) * dy - (v - y) * dx for (x, y), (dx, dy) in edges if abs(dx) + abs(dy) > 1e-9]
            low, high = np.min(away, axis=0), np.max(away, axis=0)
            inside = (low > 0.0) | (high < 0.0)
            rim = ~inside & ((low > -1e-6) | (high < 1e-6))
            # Where it is too thin for a middle it has one pixel in a row, and one row at least.
            top, bottom = corners[:, 1].min(), corners[:, 1].max()
            rows = (v[:, 0] > top) & (v[:, 0] < bottom)
            rows = rows & ~inside.any(1) if rows.any() else np.abs(v[:, 0] - 0.5 * (top + bottom)) <= 1.0
            columns = (u[0] > corners[:, 0].min() - 1.0) & (u[0] < corners[:, 0].max() + 1.0)
            expected[inside] = number
            sure |= inside
            sure &= ~rim
            sure[np.ix_(rows, columns)] = False
            tried, thin = tried + 1, thin + int(rows.any() and columns.any())
        canvas.fill(0)
        seen.paint(canvas, np.arange(1, len(seen) + 1, dtype=np.uint32))
        assert (canvas == expected)[sure].all() and sure.mean() > 0.5
    assert tried > 300 and thin > 10


def test_thin_things_are_not_broken_up():
    """A pole of a third of a pixel's width is one pixel wide from its foot to its top."""
    pole = Static("pole", (30.0, 0.37, 3.0), (0.05, 0.05, 3.0))
    picture = GeometryPicture(200, 200, 90.0)
    picture.render(StandInMap([pole], town=False), Bodies(), Pose(0.0, 0.0, 1.5))
    shown = picture.instance == STATIC_IDS
    rows = np.flatnonzero(shown.any(1))
    assert len(rows) >= 19 and (np.diff(rows) == 1).all() and (shown.sum(1)[rows] == 1).all()


def test_the_ground_is_sampled_as_opencv_samples_it(town):
    ground = ground_of(town)
    level = ground.pyramid.levels[0]
    texture = level.view(np.uint8).reshape(*level.shape, 4)
    spawn = town.spawn_points[7]
    eye = eye_of(Pose(spawn.x, spawn.y, 2.0, -20.0, spawn.yaw + 13.0, 4.0))
    camera = PinholeCamera(160, 120, 70.0)
    homography = ground_homography(eye, camera)
    canvas = np.zeros((120, 160), np.uint32)
    gain, veil = np.full((80, 1, 4), 256, np.uint16), np.zeros((80, 1, 4), np.uint16)
    ground.pyramid.draw(canvas, homography, [(40, 120, 0, 1)], 40, gain, veil)
    ours = canvas[40:].copy().view(np.uint8).reshape(80, 160, 4)
    x, y, scale = ground.x0, ground.y0, 1.0 / ground.resolution
    to_texture = np.array([[scale, 0, -x * scale - 0.5], [0, scale, -y * scale - 0.5], [0, 0, 1]])
    from_row = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 40.5], [0.0, 0.0, 1.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpPerspective(
        texture, to_texture @ homography @ from_row, (160, 80), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    difference = np.abs(ours[..., :3].astype(int) - theirs[..., :3])
    assert difference.max() <= 3 and difference.mean() < 0.3
    # Gain and veil.
    gain[:], veil[:] = 128, 20
    ground.pyramid.draw(canvas, homography, [(40, 120, 0, 1)], 40, gain, veil)
    assert (canvas[40:].view(np.uint8).reshape(80, 160, 4)[..., :3] == ours[..., :3] // 2 + 20).all()
    with pytest.raises(ValueError, match="rows 30 to 120"):
        ground.pyramid.draw(canvas, homography, [(30, 120, 0, 1)], 40, gain, veil)


def test_what_reaches_behind_the_eye_is_cut_at_the_near_plane():
    wall = Static("wall", (0.0, 3.0, 2.0), (50.0, 0.5, 2.0))  # along the road, from far behind to far ahead
    pose = Pose(0.0, 0.0, 1.5, 0.0, 0.0, 0.0)
    picture = GeometryPicture(100, 100, 90.0)
    picture.render(StandInMap([wall], town=False), Bodies(), pose)
    shown = picture.instance == STATIC_IDS
    direction = rays(pose, 100, 100, 90.0)
    with np.errstate(divide="ignore"):
        depth = np.where(direction[..., 1] > 0, 2.5 / direction[..., 1], np.inf)
    z = 1.5 + depth * direction[..., 2]
    expected = (depth < 50.0) & (z > 0.0) & (z < 4.0)
    assert (shown[inner(expected)]).all() and not shown[inner(~expected)].any()
    np.testing.assert_allclose(picture.depth[inner(expected)], depth[inner(expected)], rtol=1e-4)


def test_a_twisted_face_that_the_near_plane_cuts_twice():
    """A car's sides are no exact planes: seen from as far off as the near plane they have six corners."""
    bodies = Bodies()
    add_car(bodies, 1, 0.0, 0.0)
    mesh, scene, most = body_mesh(bodies), CameraScene(PinholeCamera(84, 84, 90.0)), 0
    for corners, normal in zip(mesh.vertices[mesh.quads], mesh.normal, strict=True):
        right = np.cross(normal, (0.0, 0.0, 1.0) if abs(normal[2]) < 0.9 else (1.0, 0.0, 0.0))
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(-normal, right), -normal], axis=1)
        seen = scene.look(StandInMap(town=False), bodies, Eye(corners.mean(0) + NEAR * normal, axes))
        most = max([most, *map(len, seen.corners())])
        assert np.abs(seen.ahead()).max() < 6.0  # a car's length
        canvas = np.zeros((84, 84), np.uint32)
        seen.paint(canvas, np.ones(len(seen), np.uint32))
    assert most == 6


def test_a_map_that_is_one_long_road_has_a_ground():
    world = StandInMap(town=False)
    world.bounds = (0.0, -3.0, 95_000.0, 3.0)
    levels = ground_of(world).pyramid.levels
    assert len(levels) > 2 and min(min(level.shape) for level in levels) >= 2
    ColourPicture(64, 48, 170.0).render(world, Bodies(), CLEAR, Pose(50.0, 0.0, 30.0, -90.0))
    with pytest.raises(ValueError, match="two pixels"):
        Pyramid([np.zeros((1, 5), np.uint32)], 0.0, 0.0, 1.0)


def test_inside_a_body_and_on_its_roof():
    bodies = Bodies()
    add_car(bodies, 1, 0.0, 1.75)
    picture = ColourPicture(84, 84, 90.0)
    world = StandInMap()
    for z in (0.2, 0.7, 1.0, 1.488, 1.5):  # from under the seat to the roof's very plane
        image = picture.render(world, bodies, CLEAR, Pose(0.0, 1.75, z))
        assert image.shape == (84, 84, 4) and (image[..., 3] == 255).all()


def test_pictures_depend_on_nothing_but_the_world(town):
    bodies = Bodies()
    traffic(bodies, 5)
    poses = [
        compose(p, Pose(1.3, 0.0, 1.0 + dz, -5.0 + dz, 0.0, dz))
        for p in town.spawn_points[::31]
        for dz in (0.0, 0.02, -0.03)  # nearly the same tilt and height, which shares what is remembered
    ]
    walked = ColourPicture(84, 84, 90.0)
    for pose in poses:
        there = walked.render(town, bodies, CLEAR, pose).copy()
        fresh = ColourPicture(84, 84, 90.0).render(town, bodies, CLEAR, pose)
        assert (there == fresh).all()
    back = [walked.render(town, bodies, CLEAR, pose).tobytes() for pose in poses[::-1]]
    again = [walked.render(town, bodies, CLEAR, pose).tobytes() for pose in poses[::-1]]
    assert back == again


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY).astype(int)


@pytest.mark.parametrize("distance", [5.0, 10.0, 15.0, 20.0, 25.0])
@pytest.mark.parametrize(
    ("weather", "contrast"),
    [
        (CLEAR, 12),
        (CLEAR._replace(wetness=100.0, cloudiness=100.0), 8),
        (CLEAR._replace(sun_altitude_angle=-40.0), 4),
    ],
    ids=["clear", "wet", "night"],
)
def test_lane_markings_show_at_84_pixels(distance, weather, contrast):
    world = StandInMap(town=False)
    image = grey(ColourPicture(84, 84, 90.0).render(world, Bodies(), weather, EGO))
    for y in (3.3, -3.3):  # the edge lines, 0.15 m wide
        u, v, _ = pixel(EGO, (distance + EGO.x, y, 0.0), 84, 84, 90.0)
        if not 2 <= u < 82:
            continue
        row = image[int(v)]
        line = row[int(u) - 1 : int(u) + 2].max()
        road = [pixel(EGO, (distance, a, 0.0), 84, 84, 90.0)[0] for a in (y * 0.3, y * 0.75)]
        road = np.median(row[int(min(road)) : max(int(max(road)), int(min(road)) + 1)])
        assert line - road > contrast, (distance, y, line, road)


def test_weather_shows():
    world, bodies = StandInMap(), Bodies()
    traffic(bodies, 6)
    picture = ColourPicture(84, 84, 90.0)
    day = grey(picture.render(world, bodies, CLEAR, EGO))
    night = grey(picture.render(world, bodies, CLEAR._replace(sun_altitude_angle=-30.0), EGO))
    thick = grey(picture.render(world, bodies, CLEAR._replace(fog_density=100.0), EGO))
    wet = grey(picture.render(world, bodies, CLEAR._replace(wetness=100.0), EGO))
    assert night.mean() < 0.5 * day.mean()
    far = np.s_[32:40, 32:52]  # down the street
    assert thick[far].std() < 0.4 * day[far].std()
    assert wet[70:].mean() < 0.9 * day[70:].mean()
    dust = picture.render(world, bodies, CLEAR._replace(dust_storm=100.0), EGO)
    assert dust[5, 42, 2] > dust[5, 42, 0]  # brown sky
    assert (grey(picture.render(world, bodies, CLEAR, EGO)) == day).all()  # nothing of it stays


def test_brake_lamps_light_up():
    world, bodies = StandInMap(town=False), Bodies()
    row = add_car(bodies, 5, 8.0, 1.75, colour=(60, 60, 60))
    picture = ColourPicture(84, 84, 90.0)
    off = picture.render(world, bodies, CLEAR, EGO).astype(int)
    bodies.brake[row] = 1.0
    on = picture.render(world, bodies, CLEAR, EGO).astype(int)
    assert (on - off)[..., 2].max() > 60
    bodies.brake[row], bodies.lamps[row] = 0.0, 8  # carla.VehicleLightState.Brake
    assert (picture.render(world, bodies, CLEAR, EGO) == on).all()
    bodies.lamps[row] = 1 | 16
    assert (picture.render(world, bodies, CLEAR, EGO) == off).all()


class Hill(StandInMap):
    """The same road, rising by 10 % along x."""

    def surfaces(self) -> list[Strip]:
        out = super().surfaces()
        for strip in out:
            for side in (strip.left, strip.right):
                side[:, 2] = 0.1 * side[:, 0]
        return out


def test_a_slope_looks_like_level_ground_to_who_drives_on_it():
    flat, hill = StandInMap(town=False), Hill(town=False)
    assert terrain_of(flat).flat and not terrain_of(hill).flat
    slope = float(np.degrees(np.arctan(0.1)))
    level, uphill = Bodies(), Bodies()
    add_car(level, 3, 45.0, 1.75)
    add_car(uphill, 3, 45.0, 1.75, position=(45.0, 1.75, 4.5), rotation=(slope, 0.0, 0.0))
    picture = GeometryPicture(84, 84, 90.0)
    picture.render(flat, level, Pose(30.0, 1.75, 1.5, -5.0, 0.0, 0.0))
    expected = picture.tag.copy()
    picture.render(hill, uphill, Pose(30.0, 1.75, 1.5 + 3.0, -5.0 + slope, 0.0, 0.0))
    assert (picture.tag != expected).mean() < 0.03


def test_a_picture_costs_a_few_times_what_opencv_takes_for_the_ground_alone(town):
    """Twenty cars, houses, sky and light included.  Blunders such as a loop in Python cost a hundred times.

    Milliseconds of this thread against each other in one run: other load changes both alike.
    """
    bodies = Bodies()
    for k, spawn in enumerate(town.spawn_points[::7][:20]):
        add_car(bodies, 100 + k, spawn.x, spawn.y, spawn.yaw)
    large, small = ColourPicture(800, 600, 90.0), ColourPicture(84, 84, 90.0)
    ground = ground_of(town)
    texture = ground.pyramid.levels[0].view(np.uint8).reshape(*ground.pyramid.levels[0].shape, 4)
    to_texture = np.diag([1.0 / ground.resolution, 1.0 / ground.resolution, 1.0])
    spent: dict[str, list[float]] = {"large": [], "small": [], "ground": []}
    flags, threads = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for k in range(15):
            pose = compose(town.spawn_points[3], Pose(0.1 * k, 0.0, 1.0, -5.0, 0.0, 0.0))
            matrix = to_texture @ ground_homography(eye_of(pose), large.camera)
            for name, draw in (
                ("large", lambda pose=pose: large.render(town, bodies, CLEAR, pose)),
                ("small", lambda pose=pose: small.render(town, bodies, CLEAR, pose)),
                ("ground", lambda m=matrix: cv2.warpPerspective(texture, m, (800, 600), flags=flags)),
            ):
                start = time.thread_time()
                draw()
                spent[name].append(time.thread_time() - start)
    finally:
        cv2.setNumThreads(threads)
    cost = {name: float(np.median(times)) for name, times in spent.items()}
    assert cost["large"] < 8.0 * cost["ground"], cost
    assert cost["small"] < 0.5 * cost["large"], cost
