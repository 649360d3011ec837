"""Pictures and events by frame, from sensors that send what a test says."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from av_td3.driving.errors import SimulatorFaultError
from av_td3.driving.session import CameraStream, EventStream


class FakeSensor:
    """Hands what is sent to whoever listens."""

    attributes = {"image_size_x": "4", "image_size_y": "2"}

    def listen(self, take):
        self.send = take


def picture(frame, width=4, height=2):
    data = np.full(4 * width * height, frame, np.uint8).tobytes()
    return SimpleNamespace(frame=frame, width=width, height=height, raw_data=data)


@pytest.fixture
def camera():
    return CameraStream(FakeSensor())


def test_the_picture_is_that_of_the_frame(camera):
    for frame in (3, 4):
        camera.sensor.send(picture(frame))
    found = camera.wait(4, 0.0)
    assert found.shape == (2, 4, 4) and (found == 4).all(), "an older one is dropped"


def test_a_picture_that_comes_after_its_tick_is_waited_for(camera):
    threading.Timer(0.05, camera.sensor.send, [picture(7)]).start()
    assert (camera.wait(7, 60.0) == 7).all()


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ([], "no picture of frame 5 within 0 s"),
        ([picture(6)], r"skipped frame 5 \(next: 6\)"),
        ([picture(5, width=3)], "3 x 2 pixels and 24 bytes instead of 4 x 2"),
    ],
)
def test_anything_else_is_a_fault(camera, sent, says):
    for image in sent:
        camera.sensor.send(image)
    with pytest.raises(SimulatorFaultError, match=says):
        camera.wait(5, 0.0)


def test_a_camera_that_was_switched_on_sends_from_some_time_on(camera):
    assert not camera.sending(0.0) and not camera.sending(0.01)
    camera.sensor.send(picture(1))
    assert camera.sending(0.0) and camera.sending(0.0), "once it has sent it sends"


def test_events_are_handed_out_with_their_frames():
    stream = EventStream(FakeSensor())
    for frame in (1, 3, 2):
        stream.sensor.send(SimpleNamespace(frame=frame))
    assert [event.frame for event in stream.until(2)] == [1, 2]
    assert [event.frame for event in stream.until(2)] == []
    assert [event.frame for event in stream.until(3)] == [3], "one that came early is kept"
