"""What the viewer knows about a simulator: it connects to it as any client does.

It never ticks.  The only thing that it changes is the chase camera, an actor that exists while somebody
looks through it.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from minicarla.geometry import Pose
from minicarla.maps import RoadMap, parse
from minicarla.viewer.drawing import drawn
from minicarla.wire import sensor_data, snapshot, stream, structs, token
from minicarla.wire.client import Caller, CallError, Subscription
from minicarla.wire.schema import WireError
from minicarla.wire.stream import SensorType

RETRY = 1.0
"""Seconds between two attempts to reach a simulator that does not answer."""
IDLE = 5.0
"""Seconds without a request for a camera's picture after which the camera is not read any more."""
CHASE_POSE = Pose(x=-6.5, z=3.0, pitch=-12.0)
EGO_ROLES = ("hero", "ego", "ego_vehicle")
FAILURES = (OSError, CallError, WireError, struct.error, ValueError, IndexError, TypeError)
"""Exceptions when a simulator disappears, or when what answers is not a simulator."""


class _WatchedCamera:
    """A camera that is being read."""

    def __init__(self, caller: Caller, stream_id: int) -> None:
        self.message = b""
        self.asked = time.monotonic()
        self.taken: Callable[[bytes], None] | None = None
        """Called with every message."""
        self.subscription = Subscription(caller, stream_id, self._received)

    def _received(self, message: bytes) -> None:
        self.message = message
        if self.taken is not None:
            self.taken(message)


class WatchedSimulator:
    """One simulator, followed over restarts and reloads until :meth:`close`.

    host, port: where it answers remote procedure calls.

    ``state`` and ``camera`` may be called from any thread.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.problem: str | None = "connecting"
        """Why nothing can be shown; None while connected."""
        self.revision = 0
        """A number that changes when the map does."""
        self.roadmap: RoadMap | None = None
        self._caller: Caller | None = None
        self._world: Subscription | None = None
        self._episode = 0
        self._message = b""
        self._frames: deque[tuple[float, int]] = deque(maxlen=200)  # time.monotonic(), frame
        self._actors: dict[int, structs.ActorRecord] = {}
        self._weather: structs.WeatherParameters | None = None
        self._weather_at = 0.0
        self._cameras: dict[int, _WatchedCamera] = {}
        self._chase: tuple[int, int] | None = None  # ids of the followed actor and of the camera
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Connect, and connect again whenever the simulator comes back.

        Raises:
            OSError, ValueError: it cannot be reached, or it does not answer as a CARLA server does.
        """
        self._connect()
        self._thread.start()

    def close(self) -> None:
        """Disconnect, and take the chase camera away."""
        self._closing.set()
        with self._lock:
            with contextlib.suppress(*FAILURES):
                self.chase(None)
            self._disconnect("closed")

    # ------------------------------------------------------------------ the connection

    def _connect(self) -> None:
        caller = Caller(self.host, self.port)
        try:
            caller.call("version", result=str)
            info = caller.call("get_episode_info", result=structs.EpisodeInfo)
            name = caller.call("get_map_info", result=structs.MapInfo).name.rsplit("/", 1)[-1]
            text = caller.call("get_map_data", result=str)
        except (IndexError, TypeError) as error:
            caller.close()
            raise ValueError(f"what answers there is not a CARLA server: {error}") from None
        except BaseException:
            caller.close()
            raise
        roadmap = parse(text, name)
        with self._lock:
            same = self.roadmap is not None and self.roadmap.opendrive == text
            self.roadmap, self._caller, self._episode = roadmap, caller, info.id
            self.revision += not same
            self._actors.clear()
            self._frames.clear()
            self._weather = None
            self._message = b""
            stream_id = token.unpack(info.token.data)[0]
            self._world = Subscription(caller, stream_id, self._received, self._lost)
            self.problem = None

    def _disconnect(self, problem: str) -> None:
        with self._lock:
            self.problem = problem
            for camera in self._cameras.values():
                camera.subscription.close()
            self._cameras.clear()
            self._chase = None
            if self._world is not None:
                self._world.close()
                self._world = None
            if self._caller is not None:
                self._caller.close()
                self._caller = None

    def _lost(self) -> None:
        if not self._closing.is_set():
            self.problem = self.problem or "the simulator has disconnected"

    def _received(self, message: bytes) -> None:
        self._message = message
        self._frames.append((time.monotonic(), stream.parse_header(message).frame))

    def _follow(self) -> None:
        """In a thread: reconnect, notice new episodes, and stop reading cameras that nobody looks at."""
        while not self._closing.wait(0.2):
            with contextlib.suppress(*FAILURES):
                if self.problem is None:
                    message = self._message
                    if message and snapshot.parse(message[stream.HEADER_SIZE :])[0] != self._episode:
                        self._disconnect("the simulator loads another world")
                    self._drop_idle()
                if self.problem is not None and not self._closing.is_set():
                    self._disconnect(self.problem)
                    self._connect()
                    continue
            if self.problem is not None:
                self._closing.wait(RETRY)

    def _drop_idle(self) -> None:
        with self._lock:
            for actor_id, camera in list(self._cameras.items()):
                if time.monotonic() - camera.asked > IDLE:
                    camera.subscription.close()
                    del self._cameras[actor_id]
                    if self._chase is not None and actor_id == self._chase[1]:
                        self.chase(None)

    # ------------------------------------------------------------------ the world

    def describe(self, actor_ids: list[int], alone: bool = False) -> dict[int, structs.ActorRecord]:
        """Descriptions of actors by id; each is asked for once.

        alone: these are all actors that there are, so descriptions of others can be dropped.
        """
        with self._lock:
            if alone:
                for gone in self._actors.keys() - set(actor_ids):
                    del self._actors[gone]
            unknown = [i for i in actor_ids if i not in self._actors]
            if unknown and self._caller is not None:
                for actor in self._caller.call("get_actors_by_id", unknown, result=list[structs.ActorRecord]):
                    self._actors[actor.id] = actor
            return self._actors

    def state(self) -> dict[str, Any]:
        """The latest tick as JSON, in metres, m/s and degrees; only ``problem`` when there is none."""
        message = self._message
        if self.problem is not None or not message or self.roadmap is None:
            return {"problem": self.problem or "no tick yet", "revision": self.revision}
        try:
            header = stream.parse_header(message)
            _, delta, records = snapshot.parse(message[stream.HEADER_SIZE :])
            known = self.describe(records["id"].tolist(), alone=True)
            weather = self._weather_now()
        except FAILURES as error:
            return {"problem": f"the simulator does not answer: {error}", "revision": self.revision}
        actors = [
            _actor(record, known[int(record["id"])]) for record in records if int(record["id"]) in known
        ]
        return {
            "problem": None,
            "revision": self.revision,
            "map": self.roadmap.name,
            "frame": header.frame,
            "time": header.timestamp,
            "delta": delta,
            "ticks_per_s": self._rate(),
            "weather": weather._asdict() if weather else {},
            "chase": self._chase[0] if self._chase else None,
            "ego": self.ego(),
            "actors": [a for a in actors if a["kind"] not in ("sensor", "other")],
            "cameras": [
                {"id": a["id"], "type": a["type"], "parent": a["parent"]}
                for a in actors
                if a["type"].startswith("sensor.camera.") and (not self._chase or a["id"] != self._chase[1])
            ],
        }

    def _rate(self) -> float:
        frames = list(self._frames)
        recent = [f for f in frames if frames[-1][0] - f[0] < 2.0] if frames else []
        if len(recent) < 2 or time.monotonic() - frames[-1][0] > 2.0:
            return 0.0
        return (recent[-1][1] - recent[0][1]) / max(1e-3, recent[-1][0] - recent[0][0])

    def _weather_now(self) -> structs.WeatherParameters | None:
        with self._lock:
            if self._caller is not None and time.monotonic() - self._weather_at > 2.0:
                self._weather_at = time.monotonic()
                self._weather = self._caller.call("get_weather_parameters", result=structs.WeatherParameters)
            return self._weather

    def drawings(self) -> list[dict[str, Any]]:
        """What clients draw with ``world.debug``, see ``drawing.drawn``; empty with CARLA's own server."""
        with self._lock:
            if self._caller is None:
                return []
            try:
                return drawn(self._caller.call("minicarla.drawings", result=list[Any]))
            except FAILURES:
                return []

    def ego(self) -> int | None:
        """Id of the ego: by its role name, else the first without an autopilot, else the first vehicle."""
        vehicles = [a for a in self._actors.values() if a.description.id.startswith("vehicle.")]
        roles = [(actor.id, _attribute(actor, "role_name")) for actor in vehicles]
        candidates = [
            *(actor_id for actor_id, role in roles if role in EGO_ROLES),
            *(actor_id for actor_id, role in roles if not role.startswith(("autopilot", "minicarla:"))),
            *(actor_id for actor_id, _ in roles),
        ]
        return candidates[0] if candidates else None

    # ------------------------------------------------------------------ cameras

    def chase(self, followed: int | None, size: tuple[int, int] = (640, 360)) -> int | None:
        """Let the chase camera follow an actor; None takes the camera away.

        size: width and height of its pictures, pixels.

        Returns the camera's id, None when there is no camera.  Raises CallError when the simulator
        refuses to spawn it.
        """
        with self._lock:
            if self._caller is None:
                return None
            if self._chase is not None:
                if self._chase[0] == followed:
                    return self._chase[1]
                camera = self._cameras.pop(self._chase[1], None)
                if camera is not None:
                    camera.subscription.close()
                old, self._chase = self._chase[1], None
                with contextlib.suppress(CallError):
                    self._caller.call("destroy_actor", old)
            if followed is None:
                return None
            definitions = self._caller.call("get_actor_definitions", result=list[structs.ActorDefinition])
            blueprint = next(d for d in definitions if d.id == "sensor.camera.rgb")
            chosen = {"image_size_x": str(size[0]), "image_size_y": str(size[1]), "role_name": "viewer"}
            attributes = [
                structs.ActorAttributeValue(a.id, a.type, chosen.get(a.id, a.value))
                for a in blueprint.attributes
            ]
            description = structs.ActorDescription(blueprint.uid, blueprint.id, attributes)
            actor = self._caller.call(
                "spawn_actor_with_parent",
                description,
                structs.transform(CHASE_POSE),
                followed,
                int(structs.AttachmentType.RIGID),
                "",
                result=structs.ActorRecord,
            )
            self._actors[actor.id] = actor
            self._chase = (followed, actor.id)
            self._open(actor.id)
            return actor.id

    @property
    def chase_camera(self) -> int | None:
        """The chase camera's id; None when there is none."""
        chase = self._chase
        return chase[1] if chase else None

    def _open(self, actor_id: int) -> _WatchedCamera | None:
        """A camera that is read from now on; None when there is no camera of this id."""
        with self._lock:
            camera = self._cameras.get(actor_id)
            if camera is not None or self._caller is None:
                return camera
            actor = self.describe([actor_id]).get(actor_id)
            if (
                actor is None
                or not actor.stream_token
                or not actor.description.id.startswith("sensor.camera.")
            ):
                return None
            camera = _WatchedCamera(self._caller, token.unpack(actor.stream_token)[0])
            self._cameras[actor_id] = camera
            return camera

    def watch(self, actor_id: int, taken: Callable[[bytes], None]) -> None:
        """Call a function with every message of a camera; ValueError when there is no camera of this id."""
        camera = self._open(actor_id)
        if camera is None:
            raise ValueError(f"there is no camera {actor_id}")
        camera.asked, camera.taken = float("inf"), taken

    def camera(self, actor_id: int) -> NDArray[np.uint8] | None:
        """A camera's latest picture as it is shown, (height, width, 3) BGR; None while there is none."""
        try:
            camera = self._open(actor_id)
        except FAILURES:
            return None
        if camera is None:
            return None
        camera.asked = max(camera.asked, time.monotonic())
        return picture(camera.message) if camera.message else None


def picture(message: bytes) -> NDArray[np.uint8]:
    """A camera's message as it is shown, (height, width, 3) BGR: depth in grays, semantic tags in colours."""
    kind = stream.parse_header(message).kind
    bgr = sensor_data.parse_image(memoryview(message)[stream.HEADER_SIZE :])[..., :3]
    if kind == SensorType.DEPTH_CAMERA:  # 24 bits, red lowest, of 1,000 m
        depth = bgr[..., 2] + 256.0 * bgr[..., 1] + 65536.0 * bgr[..., 0]
        gray = 255.0 * (1.0 - np.log1p(depth / (1 << 24) * 1000.0) / np.log1p(1000.0))
        return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    if kind in (SensorType.SEMANTIC_CAMERA, SensorType.INSTANCE_CAMERA):
        tags = bgr[..., 2].astype(np.uint32)
        hue = ((tags * 47) % 180).astype(np.uint8)
        hsv = np.stack([hue, np.full_like(hue, 140), np.where(tags > 0, 230, 40).astype(np.uint8)], axis=-1)
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
    return np.ascontiguousarray(bgr)


_KINDS = ("vehicle", "walker", "traffic", "static", "sensor")


def _actor(record: np.void, actor: structs.ActorRecord) -> dict[str, Any]:
    """One actor of a snapshot as JSON."""
    type_id = actor.description.id
    family = type_id.split(".", 1)[0]
    box = actor.bounding_box
    velocity = record["velocity"]
    out = {
        "id": actor.id,
        "type": type_id,
        "kind": family if family in _KINDS else "other",
        "parent": actor.parent_id,
        "x": round(float(record["location"][0]), 3),
        "y": round(float(record["location"][1]), 3),
        "z": round(float(record["location"][2]), 3),
        "yaw": round(float(record["rotation"][1]), 2),
        "half": [round(box.extent.x, 3), round(box.extent.y, 3)],
        "speed": round(float(np.hypot(velocity[0], velocity[1])), 3),
        "role": _attribute(actor, "role_name"),
    }
    if type_id == "traffic.traffic_light":
        out["light"] = int(record["light_state"])
    elif family == "vehicle":
        out |= {"throttle": float(record["throttle"]), "brake": float(record["brake"])}
    return out


def _attribute(actor: structs.ActorRecord, name: str) -> str:
    return next((a.value for a in actor.description.attributes if a.id == name), "")
