"""Colour pictures: quadrilaterals are painted over ground and sky."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies
from minicarla.geometry import Pose
from minicarla.maps import RoadMap
from minicarla.sensors.raster.ground import GroundPicture, ground_of
from minicarla.sensors.raster.light import ELEVATIONS, Illumination
from minicarla.sensors.raster.painter import CameraScene, Eye, PinholeCamera, eye_of
from minicarla.sensors.raster.shapes import GLOW_DAY, GLOW_NIGHT, Role
from minicarla.sensors.raster.terrain import terrain_of
from minicarla.wire.structs import WeatherParameters

Array = NDArray[np.float64]

_SHORTEST_BAND = 8  # rows
_QUARTER, _ONE, _TWO = range(3)  # samples of the ground, see ``kernels.Pyramid``
_FAR = 600.0  # metres; the ground beyond has the horizon's colour
_BRAKE_LIGHT = 0xFF2832  # of tail lamps
_BRAKE_LAMPS = np.uint32(8)  # carla.VehicleLightState.Brake


class _Backdrop(NamedTuple):
    """Sky, and how ground is lit and fogged, for one tilt of the camera."""

    horizon: int  # first row that may show ground
    sky: NDArray[np.uint8]  # (height, width, 4)
    gain: NDArray[np.uint16]  # (rows from horizon, width or 1, 4): light reaching the eye, 8.8 fixed point
    veil: NDArray[np.uint16]  # the same shape: fog added
    hidden: NDArray[np.bool_] | None  # (rows, width) of sky below ``horizon``, None when there is none
    bands: list[tuple[int, int, int, int]]
    """First row, end row, level of the ground's pyramid, and samples."""


class ColourPicture:
    """Renders one camera in colour.

    Small pictures are painted at twice their size and averaged, so that lane markings
    narrower than a pixel keep their share of it.
    """

    def __init__(self, width: int, height: int, fov: float) -> None:
        self.samples = 2 if width * height <= 320 * 240 else 1
        self.size = (width, height)
        self.camera = PinholeCamera(width * self.samples, height * self.samples, fov)
        self._canvas = np.empty((self.camera.height, self.camera.width, 4), np.uint8)
        self._pixels = self._canvas.view(np.uint32)[..., 0]
        self._scene = CameraScene(self.camera)
        self._backdrops: OrderedDict[tuple[Any, ...], _Backdrop] = OrderedDict()
        self._light: tuple[Any, Illumination] | None = None

    def light(self, weather: WeatherParameters) -> Illumination:
        """The light of ``weather``, computed when it changes."""
        key = tuple(weather)
        if self._light is None or self._light[0] != key:
            self._light = (key, Illumination(weather))
            self._glow = GLOW_DAY + (GLOW_NIGHT - GLOW_DAY) * self._light[1].night
            self._backdrops.clear()
        return self._light[1]

    def render(
        self, roadmap: RoadMap, bodies: Bodies, weather: WeatherParameters, pose: Pose
    ) -> NDArray[np.uint8]:
        """(height, width, 4) uint8, BGRA."""
        light = self.light(weather)
        bodies, pose = terrain_of(roadmap).flatten(bodies, pose)
        eye = eye_of(pose)
        self._paint_backdrop(ground_of(roadmap), light, eye, pose)
        seen = self._scene.look(roadmap, bodies, eye)
        braking = ((bodies.brake > 0.05) | (bodies.lamps & _BRAKE_LAMPS > 0)).view(np.uint8)
        seen.paint(self._pixels, seen.colours(light, self._glow, braking, Role.TAIL_LAMP, _BRAKE_LIGHT))
        if self.samples == 1:
            return self._canvas
        return cv2.resize(self._canvas, self.size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]

    def _paint_backdrop(self, ground: GroundPicture, light: Illumination, eye: Eye, pose: Pose) -> None:
        # The backdrop is computed from the rounded pose: pictures do not depend on earlier ones.
        key = (round(pose.pitch, 1), round(pose.roll, 1), round(pose.z, 1), ground.resolution)
        backdrop = self._backdrops.get(key)
        if backdrop is None:
            backdrop = _backdrop(self.camera, self.samples, light, ground, *key[:3])
            self._backdrops[key] = backdrop
            if len(self._backdrops) > 64:
                self._backdrops.popitem(last=False)
        top = backdrop.horizon
        self._canvas[:top] = backdrop.sky[:top]
        if top >= self.camera.height:
            return
        homography = ground_homography(eye, self.camera)
        ground.pyramid.draw(self._pixels, homography, backdrop.bands, top, backdrop.gain, backdrop.veil)
        if backdrop.hidden is not None:
            np.copyto(self._canvas[top:], backdrop.sky[top:], where=backdrop.hidden[..., None])


def ground_homography(eye: Eye, camera: PinholeCamera) -> Array:
    """(3, 3) from pixel coordinates (u, v, 1) to (x w, y w, w) on the plane z = 0; w > 0 where it is seen."""
    # Plain numbers: for nine of them that is faster than arrays.
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


def _backdrop(
    camera: PinholeCamera,
    samples: int,
    light: Illumination,
    ground: GroundPicture,
    pitch: float,
    roll: float,
    height: float,
) -> _Backdrop:
    """Everything about sky and ground that does not depend on where the camera stands."""
    eye = eye_of(Pose(0.0, 0.0, height, pitch, 0.0, roll))
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
    # Distant ground fades into the horizon, so that the edge of the texture does not show as a line.
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
    gain16, veil16 = gain.astype(np.uint16), veil.astype(np.uint16)
    hidden = None
    if not level_camera and horizon < camera.height and not is_ground[horizon:].all():
        hidden = ~is_ground[horizon:]
    elif level_camera and not is_ground[horizon:].all():
        hidden = np.broadcast_to(~is_ground[horizon:], (camera.height - horizon, camera.width)).copy()
    bands = _bands(camera, samples, ground, distance, horizon)
    return _Backdrop(horizon, sky, gain16, veil16, hidden, bands)


def _bands(
    camera: PinholeCamera, samples: int, ground: GroundPicture, distance: Array, horizon: int
) -> list[tuple[int, int, int, int]]:
    """Rows by level of the pyramid, so that a texel is about as wide as a pixel of the canvas.

    Where it is wider than a pixel of the picture, one sample a pixel is enough.  Far off, where a
    pixel covers far more ground ahead than aside, two are taken.
    """
    nearest = distance.min(1)
    width = nearest / camera.focal
    wanted = np.floor(np.log2(np.maximum(width / ground.resolution, 1e-9)) + 0.35)
    level = np.clip(wanted, 0, len(ground.pyramid.levels) - 1).astype(np.int64)
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
            bands.append((horizon + start, horizon + row, int(level[row - 1]), _TWO if deep else _ONE))
            start = row
    if coarse < len(level):
        bands.append((horizon + coarse, camera.height, 0, _QUARTER))
    return bands
