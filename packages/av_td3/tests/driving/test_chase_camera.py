"""The planned route lies where it belongs in the picture."""

import numpy as np
import pytest

from av_td3.driving import chase_camera
from av_td3.driving.chase_camera import VIDEO_SIZE, draw_route, project

WIDTH, HEIGHT = VIDEO_SIZE


def test_the_road_far_ahead_meets_the_horizon_in_the_middle():
    (column, row), (right, _) = project(np.array([[1e6, 0.0], [1e6, 1e5]]))
    pitch = np.radians(-chase_camera.POSE[2])
    assert column == WIDTH / 2 and row == pytest.approx(HEIGHT / 2 - WIDTH / 2 * np.tan(pitch), abs=0.1)
    assert right > column


def test_the_road_under_the_optical_axis_is_the_middle_of_the_picture():
    x, height, pitch = chase_camera.POSE
    on_axis = x + height / np.tan(np.radians(-pitch))
    assert project(np.array([[on_axis, 0.0]]))[0] == pytest.approx([WIDTH / 2, HEIGHT / 2])


def painted(path):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    draw_route(picture, np.array(path, float))
    rows, columns = np.nonzero(picture.any(axis=2))
    return rows, columns


def test_a_straight_route_is_a_band_that_narrows_towards_the_horizon():
    rows, columns = painted([(k, 0.0) for k in range(60)])
    widths = [np.count_nonzero(rows == row) for row in (rows.min() + 2, rows.max() - 2)]
    assert abs(columns.mean() - WIDTH / 2) < 1 and 0 < widths[0] < widths[1] < 40


def test_a_route_to_the_right_is_drawn_on_the_right():
    _, columns = painted([(k, 0.02 * k * k) for k in range(30)])
    assert columns.max() > WIDTH / 2 + 60 and columns.min() > WIDTH / 2 - 20


@pytest.mark.parametrize(
    "path",
    [
        np.zeros((0, 2)),
        [(1.0, 0.0), (2.0, 0.0)],  # hidden by the car
        [(-5.0, 0.0), (-9.0, 0.0)],
        [(10.0, 0.0)],
    ],
    ids=["goal reached", "too near", "behind", "a single point"],
)
def test_nothing_is_drawn_where_nothing_can_be_seen(path):
    assert len(painted(path)[0]) == 0


def test_a_route_that_turns_back_is_drawn_up_to_the_turn():
    angle = np.linspace(0, 1.5 * np.pi, 60)
    rows, _ = painted(np.stack([8 + 12 * np.sin(angle), 12 - 12 * np.cos(angle)], axis=1))
    assert 0 < len(rows) < WIDTH * HEIGHT / 4
