"""Pictures: colour by painting quadrilaterals over ground and sky, and the exact geometry of each pixel."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Transform
from minicarla.sensors.raster.ground import Ground, ground_of
from minicarla.sensors.raster.light import ELEVATIONS, Light
from minicarla.sensors.raster.mesh import GLOW_DAY, GLOW_NIGHT, Role
from minicarla.sensors.raster.painter import Camera, Eye, Quads, Scene, eye_of
from minicarla.sensors.raster.terrain import terrain_of
from minicarla.world.bodies import Bodies

Array = NDArray[np.float64]

SHIFT = 4
_ONE = 1 << SHIFT
_SHORTEST_BAND = 8  # rows
_HALF = np.array([1.0, 0.5, 1.0])
_DOUBLE = np.array([2.0, 2.0, 1.0])
_FAR = 600.0  # metres; the ground beyond has the horizon's colour


class _Backdrop(NamedTuple):
    """Sky, and how ground is lit and fogged, for one tilt of the camera."""

    horizon: int  # first row that may show ground
    sky: NDArray[np.uint8]  # (height, width, 4)
    gain: NDArray[np.uint16]  # (rows from horizon, width, 4): light reaching the eye, 8.8 fixed point
    veil: NDArray[np.uint16]  # the same shape: fog added
    hidden: NDArray[np.bool_] | None  # (rows, width) of sky below ``horizon``, None when there is none
    bands: list[tuple[int, int, int, int]]
    """First row, end row, level of the ground's pyramid, and samples: 1 one a pixel, 0 two above each
    other, 2 one for two by two pixels."""


class ColourPicture:
    """Renders one camera in colour.

    Small pictures are painted at twice their size and averaged, so that lane markings
    narrower than a pixel keep their share of it.
    """

    def __init__(self, width: int, height: int, fov: float) -> None:
        self.samples = 2 if width * height <= 320 * 240 else 1
        self.size = (width, height)
        self.camera = Camera(width * self.samples, height * self.samples, fov)
        self._canvas = np.empty((self.camera.height, self.camera.width, 4), np.uint8)
        self._scene = Scene(self.camera)
        self._paint = _Paint()
        self._shaded = np.empty(self._canvas.shape, np.uint16)
        self._small = np.empty((height, width, 4), np.uint8)
        self._twice = np.empty((2 * self.camera.height, self.camera.width, 4), np.uint8)
        self._backdrops: OrderedDict[tuple[Any, ...], _Backdrop] = OrderedDict()
        self._light: tuple[Any, Light] | None = None

    def light(self, weather: Any) -> Light:
        """The light of ``weather``, computed when it changes."""
        key = tuple(weather)
        if self._light is None or self._light[0] != key:
            self._light = (key, Light(weather))
            self._backdrops.clear()
        return self._light[1]

    def render(self, roadmap: Any, bodies: Bodies, weather: Any, pose: Transform) -> NDArray[np.uint8]:
        """(height, width, 4) uint8, BGRA."""
        light = self.light(weather)
        bodies, pose = terrain_of(roadmap).flatten(bodies, pose)
        eye = eye_of(pose)
        canvas = self._canvas
        self._paint_backdrop(canvas, ground_of(roadmap), light, eye, pose)
        quads = self._scene.look(roadmap, bodies, eye)
        colours = self._paint.colours(self._scene, quads, bodies, light)
        fill = cv2.fillConvexPoly
        for points, colour in zip(fixed_point(quads), colours, strict=True):
            fill(canvas, points, colour, 8, SHIFT)
        if self.samples == 1:
            return canvas
        return cv2.resize(canvas, self.size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    def _paint_backdrop(
        self, canvas: NDArray[np.uint8], ground: Ground, light: Light, eye: Eye, pose: Transform
    ) -> None:
        # Computed from the rounded pose, so that pictures do not depend on what was drawn before.
        key = (round(pose.pitch, 1), round(pose.roll, 1), round(pose.z, 1), ground.resolution)
        backdrop = self._backdrops.get(key)
        if backdrop is None:
            backdrop = _backdrop(self.camera, self.samples, light, ground, *key[:3])
            self._backdrops[key] = backdrop
            if len(self._backdrops) > 64:
                self._backdrops.popitem(last=False)
        top = backdrop.horizon
        canvas[:top] = backdrop.sky[:top]
        if top >= self.camera.height:
            return
        homography = ground_homography(eye, self.camera)
        for first, end, level, pixels in backdrop.bands:
            if pixels == 1:
                sample_ground(ground, homography, level, first, canvas[first:end])
                continue
            if pixels == 0:
                twice = self._twice[: 2 * (end - first)]
                sample_ground(ground, homography * _HALF, level, 2 * first, twice)
                cv2.addWeighted(twice[0::2], 0.5, twice[1::2], 0.5, 0.5, dst=canvas[first:end])
                continue
            small = self._small[first // 2 : end // 2]
            sample_ground(ground, homography * _DOUBLE, level, first // 2, small)
            whole = (self.camera.width, end - first)
            cv2.resize(small, whole, dst=canvas[first:end], interpolation=cv2.INTER_NEAREST)
        below, shaded = canvas[top:], self._shaded[top:]
        np.multiply(below, backdrop.gain, out=shaded)
        np.right_shift(shaded, 8, out=shaded)
        np.add(shaded, backdrop.veil, out=shaded)
        np.copyto(below, shaded, casting="unsafe")
        if backdrop.hidden is not None:
            below[backdrop.hidden] = backdrop.sky[top:][backdrop.hidden]


def ground_homography(eye: Eye, camera: Camera) -> Array:
    """(3, 3) from pixel coordinates (u, v, 1) to (x w, y w, w) on the plane z = 0; w > 0 on it."""
    # Plain numbers: nine of them are quicker so than as arrays.
    (rx, dx, ax), (ry, dy, ay), (rz, dz, az) = eye.axes.tolist()
    px, py, height = eye.position.tolist()
    step, sx, sy = 1.0 / camera.focal, camera.slope_x, camera.slope_y
    # The ray of (u, v, 1), and how far it falls; on the ground it has fallen by the eye's height.
    fall = (-rz * step, -dz * step, -(az - rz * sx - dz * sy))
    along_x = (rx * step, dx * step, ax - rx * sx - dx * sy)
    along_y = (ry * step, dy * step, ay - ry * sx - dy * sy)
    return np.array(
        [
            [along_x[k] * height + px * fall[k] for k in range(3)],
            [along_y[k] * height + py * fall[k] for k in range(3)],
            fall,
        ]
    )


def sample_ground(
    ground: Ground, homography: Array, level: int, first_row: int, out: NDArray[np.uint8]
) -> None:
    """Fill ``out`` (rows from ``first_row``) with the ground's colours, bilinear."""
    cv2.warpPerspective(
        ground.levels[level],
        texture_matrix(ground, homography, level, first_row),
        (out.shape[1], out.shape[0]),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def texture_matrix(ground: Ground, homography: Array, level: int, first_row: int) -> Array:
    """(3, 3) from pixels (column, row - first_row) to the texture's, both counted from pixels' middles."""
    scale = 1.0 / (ground.resolution * 2**level)
    (a, b, c), (d, e, f), (g, h, i) = homography.tolist()
    row = first_row + 0.5
    c, f, i = c + 0.5 * a + row * b, f + 0.5 * d + row * e, i + 0.5 * g + row * h
    x, y = ground.x0 * scale + 0.5, ground.y0 * scale + 0.5
    return np.array(
        [
            [a * scale - g * x, b * scale - h * x, c * scale - i * x],
            [d * scale - g * y, e * scale - h * y, f * scale - i * y],
            [g, h, i],
        ]
    )


def _backdrop(
    camera: Camera, samples: int, light: Light, ground: Ground, pitch: float, roll: float, height: float
) -> _Backdrop:
    """Everything about sky and ground that does not depend on where the camera stands."""
    eye = eye_of(Transform(0.0, 0.0, height, pitch, 0.0, roll))
    right, down, ahead = eye.axes[2]  # heights of the axes
    level_camera = abs(float(right)) < 1e-4
    columns = np.arange(camera.width) + 0.5
    if level_camera:
        columns = columns[:1] * 0 + 0.5 * camera.width
    v, u = np.meshgrid(np.arange(camera.height) + 0.5, columns, indexing="ij")
    x, y = (u - 0.5 * camera.width) / camera.focal, (v - 0.5 * camera.height) / camera.focal
    rise = (right * x + down * y + ahead) / np.sqrt(1.0 + x * x + y * y)
    elevation = np.degrees(np.arcsin(np.clip(rise, -1.0, 1.0)))
    entry = np.clip(elevation / 90.0 * (ELEVATIONS - 1), 0, ELEVATIONS - 1).astype(np.int64)
    table = np.concatenate([np.rint(light.sky), np.full((ELEVATIONS, 1), 255.0)], axis=1).astype(np.uint8)
    sky = np.ascontiguousarray(np.broadcast_to(table[entry], (camera.height, camera.width, 4)))
    is_ground = rise < (-max(height, 0.05) / _FAR if height > 0 else -2.0)
    rows = np.nonzero(is_ground.any(1))[0]
    horizon = int(rows[0]) if len(rows) else camera.height
    distance = np.where(is_ground, height / np.maximum(-rise, 1e-9), _FAR)[horizon:]
    through = light.transmission(distance)[..., None]
    # Nearly level ground fades into the horizon so that the texture's edge is never a line.
    fade = np.clip((distance[..., None] - 0.4 * _FAR) / (0.6 * _FAR), 0.0, 1.0)
    through = through * (1.0 - fade)
    mirror = light.wet * 0.5 * (1.0 - np.clip(-rise[horizon:], 0.0, 1.0)[..., None]) ** 5
    gain = light.ground() * (1.0 - 0.35 * light.wet) * (1.0 - mirror) * through
    veil = light.sky[2] * (1.0 - through) + light.sky[60] * mirror * through
    if light.extinction > 0.003:
        veil = light.fog * (1.0 - through) + light.sky[60] * mirror * through
    gain = np.concatenate([gain * 256.0, np.full_like(gain[..., :1], 0.0)], axis=-1)
    veil = np.concatenate([veil, np.full_like(veil[..., :1], 255.0)], axis=-1)
    veil = np.clip(np.rint(veil), 0, 255)
    gain = np.clip(gain, 0.0, (255.0 - veil) * (256.0 / 255.0))  # so that the sum never exceeds 255
    shape = (camera.height - horizon, camera.width, 4)
    gain16 = np.ascontiguousarray(np.broadcast_to(gain.astype(np.uint16), shape))
    veil16 = np.ascontiguousarray(np.broadcast_to(veil.astype(np.uint16), shape))
    hidden = None
    if not level_camera and horizon < camera.height and not is_ground[horizon:].all():
        hidden = ~is_ground[horizon:]
    elif level_camera and not is_ground[horizon:].all():
        hidden = np.broadcast_to(~is_ground[horizon:], (camera.height - horizon, camera.width)).copy()
    bands = _bands(camera, samples, ground, distance, horizon)
    return _Backdrop(horizon, sky, gain16, veil16, hidden, bands)


def _bands(
    camera: Camera, samples: int, ground: Ground, distance: Array, horizon: int
) -> list[tuple[int, int, int, int]]:
    """Rows by level of the pyramid, so that a texel is about as wide as a pixel of the canvas.

    Where it is wider than a pixel of the picture, one sample a pixel is enough.  Far off, where a
    pixel covers far more ground ahead than aside, two are taken.
    """
    nearest = distance.min(1)
    width = nearest / camera.focal
    level = np.clip(
        np.floor(np.log2(np.maximum(width / ground.resolution, 1e-9)) + 0.35), 0, len(ground.levels) - 1
    )
    level = level.astype(np.int64)
    coarse = len(level)
    if samples == 2:
        wide = np.nonzero(distance.max(1) * samples / camera.focal > ground.resolution)[0]
        coarse = int(wide[-1]) + 1 if len(wide) else 0
        coarse += (horizon + coarse) % 2
    bands: list[tuple[int, int, int, int]] = []
    start = 0
    for row in range(1, coarse + 1):
        if row == coarse or (level[row] != level[start] and row - start >= _SHORTEST_BAND):
            deep = level[row - 1] > 0 or distance[start:row].min() > 12.0
            bands.append((horizon + start, horizon + row, int(level[row - 1]), 0 if deep else 1))
            start = row
    if coarse < len(level):
        bands.append((horizon + coarse, camera.height, 0, 2))
    return bands


def fixed_point(quads: Quads) -> list[NDArray[np.int32]]:
    """Polygons in OpenCV's fixed point, whose whole numbers are the middles of pixels."""
    polygons = list(np.rint(quads.corners * _ONE - 0.5 * _ONE).astype(np.int32))
    for place, polygon in quads.cut.items():
        polygons[place] = np.rint((polygon - 0.5) * _ONE).astype(np.int32)
    return polygons


class _Paint:
    """Colours of a scene's quadrilaterals: lit by sun and sky, glowing, seen through fog."""

    def __init__(self) -> None:
        self._key: tuple[int, Light] | None = None

    def colours(self, scene: Scene, quads: Quads, bodies: Bodies, light: Light) -> list[list[float]]:
        """BGRA of each quadrilateral."""
        mesh = scene.mesh
        if self._key is None or self._key[0] != scene.version or self._key[1] is not light:
            self._key = (scene.version, light)
            glow = GLOW_DAY + (GLOW_NIGHT - GLOW_DAY) * light.night
            self._base = np.zeros((len(mesh.role), 4))
            self._base[:, :3] = mesh.albedo * light.ambient + glow[mesh.role]
            self._base[:, 3] = 255.0
            self._lit = np.zeros((len(mesh.role), 4))
            self._lit[:, :3] = mesh.albedo * light.direct
            # Statics keep their place in the sun.
            self._moving = int(np.searchsorted(mesh.object, scene.count))
            still = np.s_[: self._moving]
            facing = np.maximum(mesh.normal[still] @ light.sun, 0.0)
            self._base[still] += self._lit[still] * facing[:, None]
            self._fog = np.array([*light.fog, 255.0])
            self._tail = mesh.role == Role.TAIL_LAMP
        colour = self._base.take(quads.row, 0)
        moving = (quads.row >= self._moving).nonzero()[0]
        if len(moving):
            row, body = quads.row.take(moving), quads.owner.take(moving) - scene.count
            sun = np.einsum("nij,i->nj", scene.turn, light.sun)
            facing = np.einsum("qk,qk->q", mesh.normal.take(row, 0), sun.take(body, 0))
            colour[moving] += self._lit.take(row, 0) * np.maximum(facing, 0.0)[:, None]
        if len(moving) and (bodies.brake > 0.05).any():
            braking = np.zeros(len(mesh.radius), np.bool_)
            braking[scene.count :] = bodies.brake > 0.05
            shining = braking.take(quads.owner) & self._tail.take(quads.row)
            colour[shining] = (50.0, 40.0, 255.0, 255.0)
        middle = 0.5 * (quads.ahead[:, 0] + quads.ahead[:, 2])
        through = light.transmission(middle)[:, None]
        colour -= self._fog
        colour *= through
        colour += self._fog
        return colour.tolist()  # type: ignore[no-any-return]
