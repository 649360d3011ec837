"""What has to be seen can be seen in the picture that the agent gets: 84 x 84, grayscale, default camera."""

import re

import cv2
import numpy as np
import pytest

from av_td3.config import CameraConfig
from av_td3.driving.observation import grayscale
from minicarla import maps
from minicarla.geometry import Pose, compose
from minicarla.sensors.camera_rgb import RgbCamera
from minicarla.traffic.lights import GREEN, RED
from minicarla.world import blueprints
from minicarla.world.world import World

FRONT = 2.4
"""Metres from the car's origin to its front."""


@pytest.fixture(scope="module")
def grid():
    return World("grid", synchronous=True)


def looks(world, lane, s):
    """(84, 84) what the agent sees of the present frame from a place on a lane."""
    camera = CameraConfig()
    size = {"image_size_x": str(camera.width), "image_size_y": str(camera.height), "fov": str(camera.fov)}
    sensor = RgbCamera(size)
    (x, y, *_), heading = world.roadmap.lanes[lane].at(s)
    mount = Pose(camera.x, 0.0, camera.z, camera.pitch, 0.0, 0.0)
    world.tick()
    message = sensor.measure(world.episode.view, compose(Pose(x, y, 0.0, 0.0, heading, 0.0), mount), 0)
    pixels = camera.width * camera.height * 4
    picture = np.frombuffer(message, np.uint8)[-pixels:].reshape(camera.height, camera.width, 4)
    return grayscale(picture, camera.size).astype(int)


@pytest.mark.parametrize(("metres", "pixels", "levels"), [(5, 8, 100), (10, 4, 100), (20, 2, 30)])
def test_red_and_green_differ_before_the_stop_line(grid, metres, pixels, levels):
    lights = grid.episode.lights
    lane, line = lights.lights[0].stops[0]
    lights.freeze(True)
    seen = {}
    for state in (RED, GREEN):
        lights.set_state(0, state)
        seen[state] = looks(grid, lane, line - metres - FRONT)
    change = abs(seen[RED] - seen[GREEN])
    assert change.max() >= levels and (change > 8).sum() >= pixels


def test_a_car_at_thirty_metres_is_seen_even_in_a_picture_of_half_the_size(grid):
    lane = next(lane for lane in grid.roadmap.driving if lane.junction == -1 and lane.length > 60)
    free = looks(grid, lane.id, 10.0)
    (x, y, *_), heading = lane.at(10.0 + FRONT + 30.0 + 2.4)
    car = grid.spawn(blueprints.describe("vehicle.tesla.model3"), Pose(x, y, 0.0, 0.0, heading, 0.0))
    behind_it = looks(grid, lane.id, 10.0)
    grid.destroy(car.id)
    assert (abs(behind_it - free) > 8).sum() >= 6
    # Half the size: what strides of 2 leave at the least.
    halves = [
        cv2.resize(p.astype(np.float32), (42, 42), interpolation=cv2.INTER_AREA) for p in (free, behind_it)
    ]
    assert abs(halves[0] - halves[1]).max() > 16


def test_a_lane_marking_at_ten_metres_is_seen(grid, tmp_path):
    lane = next(lane for lane in grid.roadmap.driving if lane.junction == -1 and lane.length > 60)
    path = tmp_path / "unmarked.xodr"
    path.write_text(
        re.sub(r"<roadMark[^>]*?(/>|>.*?</roadMark>)", "", maps.load("grid").opendrive, flags=re.S)
    )
    bare = World(str(path), synchronous=True)
    change = abs(looks(grid, lane.id, 20.0) - looks(bare, lane.id, 20.0))
    # The rows in which the road 10 m ahead of the camera lies: 13.5 to 23.5 degrees below the horizon.
    rows = change[np.rint(42 + 42 * np.tan(np.radians([13.5 - 10 - 3, 13.5 - 10 + 3]))).astype(int)[0] :][:6]
    assert rows.max() > 30 and (rows > 12).sum() >= 4
