"""What a sensor needs of a map is computed when it is spawned, not when its first message is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minicarla.geometry import Pose
from minicarla.sensors.raster.ground import GroundPicture
from minicarla.sensors.raster.mesh import StaticMesh
from minicarla.sensors.raster.terrain import Terrain
from minicarla.world import blueprints
from minicarla.world.world import World

COLOURS, LABELS, STATICS, TERRAIN = "colours of the ground", "labels of the ground", "statics", "terrain"


class Reader:
    """An outlet whose streams are all read."""

    def __init__(self) -> None:
        self.streams: list[int] = []

    def has_reader(self, stream_id: int) -> bool:
        return True

    def send(self, stream_id: int, *parts: bytes | memoryview) -> None:
        self.streams.append(stream_id)

    def token(self, stream_id: int) -> bytes:
        return bytes(24)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what has been computed of any map, in order."""
    names: list[str] = []

    def note(owner: type, method: str, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        def noted(*arguments: Any) -> Any:
            names.append(name)
            return original(*arguments)

        monkeypatch.setattr(owner, method, noted)

    note(GroundPicture, "_colours", COLOURS)
    note(GroundPicture, "_draw", LABELS)
    note(StaticMesh, "__init__", STATICS)
    note(Terrain, "__init__", TERRAIN)
    return names


@pytest.mark.parametrize(
    ("sensor", "needs"),
    [
        ("sensor.camera.rgb", {COLOURS, LABELS, STATICS, TERRAIN}),
        ("sensor.camera.semantic_segmentation", {LABELS, STATICS, TERRAIN}),
        ("sensor.camera.instance_segmentation", {LABELS, STATICS, TERRAIN}),
        ("sensor.camera.depth", {STATICS, TERRAIN}),
        ("sensor.lidar.ray_cast", {LABELS, TERRAIN}),
        ("sensor.lidar.ray_cast_semantic", {LABELS, TERRAIN}),
        ("sensor.other.radar", {LABELS, TERRAIN}),
        ("sensor.other.imu", set()),
    ],
)
def test_a_sensor_computes_what_it_needs_of_a_map_when_it_is_spawned(
    sensor: str, needs: set[str], computed: list[str]
) -> None:
    outlet = Reader()
    world = World("loop", outlet=outlet)
    world.tick()
    assert computed == [], "a world without sensors draws nothing"
    pose = world.roadmap.spawn_points[0]
    world.spawn(blueprints.describe(sensor), Pose(*pose)._replace(z=3.0))
    assert set(computed) == needs
    computed.clear()
    outlet.streams.clear()
    world.tick()
    assert len(outlet.streams) == 2, "a snapshot and the sensor's message"
    assert computed == []
    world.spawn(blueprints.describe(sensor), Pose(*pose)._replace(z=3.0))
    assert computed == [], "the next sensor finds it done"
