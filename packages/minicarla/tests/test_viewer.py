"""The viewer: a page in a real browser, its server, and films."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from minicarla.cli import app
from minicarla.viewer import film as film_module
from minicarla.viewer import source as source_module
from minicarla.viewer.source import WatchedSimulator
from minicarla.viewer.web import MAX_BODY, MAX_CONNECTIONS, Viewer
from minicarla.wire import snapshot, stream
from minicarla.wire.client import Caller

from .conftest import PATIENCE, Running, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
JSON = {"Content_Type": "application/json"}
Pages = Callable[..., tuple[Running, WatchedSimulator, int]]
CLI = [sys.executable, "-c", "from minicarla.cli import main; main()"]


@contextmanager
def watching(port: int) -> Iterator[WatchedSimulator]:
    source = WatchedSimulator("127.0.0.1", port)
    source.start()
    try:
        yield source
    finally:
        source.close()


@pytest.fixture
def page(serve: Callable[..., Running]) -> Iterator[Pages]:
    """A function that starts a server (its options) and a page: server, source, the page's port."""
    with ExitStack() as stack:

        def start(**options: Any) -> tuple[Running, WatchedSimulator, int]:
            server = serve(**options)
            source = stack.enter_context(watching(server.port))
            viewer = stack.enter_context(Viewer(source, "127.0.0.1", 0))
            threading.Thread(target=viewer.serve_forever, daemon=True).start()
            stack.callback(viewer.shutdown)
            return server, source, viewer.server_port

        yield start


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def ready(source: WatchedSimulator) -> dict[str, Any]:
    """The state, as soon as there is one."""
    until(lambda: source.state()["problem"] is None)
    return source.state()


class Shot:
    """A page as Chromium shows it: its pixels and its document."""

    def __init__(self, url: str, size: tuple[int, int], folder: Path) -> None:
        picture = folder / f"{size[0]}.png"
        command = [
            *(
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
            ),
            *("--hide-scrollbars", "--virtual-time-budget=3000", f"--window-size={size[0]},{size[1]}"),
            *(f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}", "--dump-dom", url),
        ]
        done = subprocess.run(command, capture_output=True, timeout=120, text=True)
        assert picture.is_file(), done.stderr[-500:]
        self.pixels = cv2.imread(str(picture)).astype(int)
        self.document = done.stdout

    def area(self, part: tuple[slice, slice], *rgb: int) -> int:
        """Pixels of a colour."""
        return int((np.abs(self.pixels[part] - rgb[::-1]).max(axis=-1) < 6).sum())

    def roads(self, part: tuple[slice, slice]) -> int:
        """Pixels of roads, in the page's light or dark colours."""
        return self.area(part, 0x9A, 0xA0, 0xA7) + self.area(part, 0x3B, 0x40, 0x47)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_map_actors_and_a_live_camera(page: Pages, tmp_path: Path) -> None:
    server, source, port = page(map="town", npc=7, walkers=4, seed=1)
    actors = ready(source)["actors"]
    server.client(DRAW)
    url = f"http://127.0.0.1:{port}/?camera=chase"
    wide = Shot(url, (1200, 800), tmp_path)
    stage = slice(None), slice(0, 840)
    assert wide.area(stage, 240, 160, 60) > 6 * 5, "six vehicles beside the ego"
    assert wide.area(stage, 230, 107, 208) > 4 * 5, "four walkers"
    assert wide.area(stage, 12, 255, 0) > 100, "a client's line across the map"
    assert wide.roads(stage) > 3000, "roads"
    picture = wide.pixels[110:330, 840:1200]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500, "a photograph rather than a black box"
    polls = re.search(r'data-polls="(\d+)"', wide.document)
    assert polls is not None and int(polls[1]) >= 5
    assert '<h1 id="title">minicarla: town' in wide.document
    listed = {int(i) for i in re.findall(r'<tr data-id="(\d+)"', wide.document)}
    assert listed == {a["id"] for a in actors if a["kind"] in ("vehicle", "walker")} and len(listed) == 11
    assert re.search(r'<img id="picture"[^>]* src="blob:', wide.document)
    assert 'id="problem" role="alert" style="display: none' in wide.document

    narrow = Shot(url, (390, 844), tmp_path)  # the window is wider when the page first draws the map
    stage = slice(0, 400), slice(0, 390)
    assert narrow.roads(stage) > 1000
    edges = [narrow.roads((slice(0, 400), edge)) for edge in (slice(0, 2), slice(388, 390))]
    assert sum(edges) < 50, f"the map is cut off: {edges} pixels of roads at its left and right edge"
    picture = narrow.pixels[620:820, 16:374]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500, "the camera is below the map"


DRAW = """
world, L, C = client.get_world(), carla.Location, carla.Color
world.debug.draw_line(L(-500, 1, 2), L(500, 2, 3), 2.0, C(12, 255, 0), 0)
world.debug.draw_arrow(L(1, 2, 3), L(4, 5, 6), 0.25, 0.5, C(1, 2, 3), 60.0)
world.debug.draw_box(
    carla.BoundingBox(L(10, 20, 3), carla.Vector3D(4, 1, 6)), carla.Rotation(0, 90, 0), 0.25, C(1, 2, 3), 0)
world.debug.draw_string(L(7, 8, 9), "h\u00e9llo" * 100, True, C(1, 2, 3), 0)
world.debug.draw_hud_point(L(5, 6, 7), 0.25, C(1, 2, 3), 0)
world.debug.draw_point(L(-5, 6, 7))
world.debug.draw_point(L(float("nan"), 6, 7), 0.1, C(1, 2, 3), 0)
world.get_weather()  # answered after the drawings, which are not
"""


def test_what_clients_draw_is_there_for_as_long_as_they_say(
    page: Pages,
) -> None:
    server, source, port = page(synchronous=True)
    server.client(DRAW)
    shown = json.loads(ask(port, "GET", "/drawings.json")[1])
    kinds = [d["kind"] for d in shown]
    assert kinds == ["line", "arrow", "box", "text", "point", "point"], "all but the one that is nowhere"
    line, arrow, box, text, point, red = shown
    assert (line["points"], line["size"], line["colour"]) == ([-500, 1, 500, 2], 2.0, [12, 255, 0])
    assert arrow["points"] == [1, 2, 4, 5]
    corners = np.array(box["points"]).reshape(4, 2)
    assert corners.min(0).tolist() == [9, 16] and corners.max(0).tolist() == [11, 24], "turned by 90 degrees"
    assert text["text"] == ("h\u00e9llo" * 100)[:200]
    assert point["points"] == [5, 6]
    assert (red["points"], red["colour"]) == ([-5, 6], [255, 0, 0])

    wire = server.wire()

    def left(seconds: float) -> list[str]:
        for _ in range(round(seconds / 0.05)):
            wire.call("tick_cue")
        return [d["kind"] for d in source.drawings()]

    assert left(1.0) == ["line", "arrow", "box", "text", "point"], "what is for one frame has gone"
    assert left(60.0) == ["line", "box", "text", "point"]
    wire.call("clear_debug_string")
    assert left(0.0) == ["line", "box", "point"]
    wire.call("clear_debug_shape")
    assert left(0.0) == []
    for bad in ([], [[9, []], [1, 2, 3]], [[0, "x"], [1, 2, 3]], 7):
        with pytest.raises(RuntimeError, match="draw_debug_shape"):
            wire.call("draw_debug_shape", bad)


def test_state_agrees_with_the_real_client(
    page: Pages,
) -> None:
    server, source, _ = page(map="town", npc=5)
    text = server.client(
        """
import json
world = synchronous()
blueprint = world.get_blueprint_library().find("vehicle.tesla.model3")
blueprint.set_attribute("role_name", "hero")
hero = world.try_spawn_actor(blueprint, world.get_map().get_spawn_points()[9])
hero.apply_control(carla.VehicleControl(throttle=0.7))
for _ in range(30):
    frame = world.tick()
snapshot = world.get_snapshot()
assert snapshot.frame == frame
out = {}
for a in world.get_actors().filter("vehicle.*"):
    t, v = snapshot.find(a.id).get_transform(), snapshot.find(a.id).get_velocity()
    out[a.id] = [t.location.x, t.location.y, t.location.z, t.rotation.yaw, (v.x**2 + v.y**2) ** 0.5]
print(json.dumps({"frame": frame, "hero": hero.id, "actors": out}))
"""
    )
    theirs = json.loads(text)
    until(lambda: source.state().get("frame") == theirs["frame"])
    state = source.state()
    assert state["ego"] == theirs["hero"]
    ours = {str(a["id"]): a for a in state["actors"] if a["kind"] == "vehicle"}
    assert set(ours) == set(theirs["actors"]) and len(ours) == 6
    for actor_id, values in theirs["actors"].items():
        actor = ours[actor_id]
        found = [actor[k] for k in ("x", "y", "z", "yaw", "speed")]
        assert found == pytest.approx(values, abs=0.006), actor
    assert max(a["speed"] for a in ours.values()) > 2.0


@pytest.mark.slow
def test_the_page_reads_only_and_the_chase_camera_goes_with_its_viewer(
    page: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "IDLE", 0.5)
    server, source, port = page(npc=2)
    ego = ready(source)["ego"]
    wire = server.wire()
    before = set(ids(wire))
    assert ask(port, "GET", "/camera/chase.jpg")[0] == 404
    status, body, _ = ask(port, "POST", "/chase", json.dumps({"actor": ego}).encode(), **JSON)
    camera = json.loads(body)["camera"]
    assert status == 200
    until(lambda: set(ids(wire)) == before | {camera})
    until(lambda: ask(port, "GET", "/camera/chase.jpg")[0] == 200)
    _, first, headers = ask(port, "GET", "/camera/chase.jpg")
    assert headers["content-type"] == "image/jpeg"
    image = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (360, 640, 3) and image.std() > 20

    def moved() -> bool:
        return ask(port, "GET", "/camera/chase.jpg")[1] != first

    until(moved)
    assert camera not in [c["id"] for c in source.state()["cameras"]], "its own camera is not offered"
    until(lambda: set(ids(wire)) == before)  # nobody looks any more
    ask(port, "POST", "/chase", json.dumps({"actor": ego}).encode(), **JSON)
    until(lambda: set(ids(wire)) != before)
    source.close()
    until(lambda: set(ids(wire)) == before)


def ids(wire: Any) -> list[int]:
    """Ids of the actors that there are."""
    message = wire.subscribe().next()
    return [int(i) for i in snapshot.parse(message[stream.HEADER_SIZE :])[2]["id"]]


def test_what_the_page_server_refuses(page: Pages) -> None:
    _, source, port = page(npc=1)
    vehicle = ready(source)["ego"]
    status, body, headers = ask(port, "GET", "/")
    assert status == 200 and b"<canvas" in body
    assert "default-src 'none'" in headers["content-security-policy"]
    body = json.dumps({"actor": vehicle}).encode()
    cases: list[tuple[int, str, str, bytes | None, dict[str, str]]] = [
        (403, "GET", "/state.json", None, {"Host": "evil.example"}),
        (403, "GET", "/state.json", None, {"Host": "evil.example:80"}),
        (403, "POST", "/chase", body, {**JSON, "Origin": "http://evil.example"}),
        (404, "GET", "/../../etc/passwd", None, {}),
        (404, "GET", f"/camera/{vehicle}.jpg", None, {}),
        (404, "GET", "/camera/99999999999999999999.jpg", None, {}),
        (404, "GET", "/camera/-1.jpg", None, {}),
        (404, "POST", "/chase", body, {"Content_Type": "text/plain"}),
        (404, "POST", "/state.json", body, JSON),
        (413, "POST", "/chase", b" " * (MAX_BODY + 1), JSON),
        (400, "POST", "/chase", b"{", JSON),
        (400, "POST", "/chase", b"[]", JSON),
        (400, "POST", "/chase", b"[" * MAX_BODY, JSON),
        (400, "POST", "/chase", b'{"actor": true}', JSON),
        (400, "POST", "/chase", b'{"actor": 987654}', JSON),
        (400, "POST", "/chase", b'{"actor": 1e999}', JSON),
        (501, "DELETE", "/", None, {}),
    ]
    for expected, method, path, content, more in cases:
        assert ask(port, method, path, content, **more)[0] == expected, (method, path, content, more)
    assert (
        ask(port, "GET", "/state.json", Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0] == 200
    )


def test_the_page_server_serves_a_limited_number_of_connections(
    page: Pages,
) -> None:
    _, _, port = page()
    silent = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(MAX_CONNECTIONS)]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as further:
        assert further.recv(1) == b"", "closed by the server"
    for sock in silent:
        sock.close()

    def served() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return ask(port, "GET", "/")[0] == 200
        return False

    until(served)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rgb", "depth", "semantic_segmentation", "instance_segmentation"])
def test_any_camera_can_be_looked_through(page: Pages, kind: str) -> None:
    server, source, port = page(map="town")
    actor = server.client(
        f"""
world = client.get_world()
blueprint = world.get_blueprint_library().find("sensor.camera.{kind}")
blueprint.set_attribute("image_size_x", "101")
blueprint.set_attribute("image_size_y", "67")
pose = world.get_map().get_spawn_points()[0]
pose.location.z += 1.5
print(world.spawn_actor(blueprint, pose).id)
"""
    )
    until(lambda: int(actor) in [c["id"] for c in source.state().get("cameras", [])])
    until(lambda: ask(port, "GET", f"/camera/{int(actor)}.jpg")[0] == 200)
    image = source.camera(int(actor))
    assert image is not None and image.shape == (67, 101, 3) and image.dtype == np.uint8
    assert len(np.unique(image.reshape(-1, 3), axis=0)) >= 5
    if kind == "depth":  # near is bright, the sky is black
        assert image[-1].mean() > image[34].mean() > image[0].mean()


@pytest.mark.slow
def test_another_map_and_another_server_are_followed(serve: Callable[..., Running]) -> None:
    server = serve(map="loop", npc=1)
    port = server.port
    with watching(port) as source:
        first = ready(source)
        assert first["map"] == "loop"
        Caller("127.0.0.1", port, timeout=20.0).call("load_new_episode", "grid", True, 0xFFFF)
        until(lambda: source.state().get("map") == "grid")
        assert source.state()["revision"] > first["revision"]
        server.stop()
        until(lambda: source.state()["problem"] is not None)
        process = subprocess.Popen(
            [*CLI, "serve", "--port", str(port), "--map", "loop", "--npc", "3"], stdout=subprocess.PIPE
        )
        try:
            until(lambda: len(source.state().get("actors", [])) == 3)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def film(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, "view", *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )


def frames(path: Path) -> list[np.ndarray]:
    reader, out = cv2.VideoCapture(str(path)), []
    while (taken := reader.read())[0]:
        out.append(taken[1])
    return out


@pytest.mark.slow
def test_a_film_has_every_tick(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    server, path = serve(map="town", npc=3), tmp_path / "drive.mp4"
    until(lambda: float(np.abs(server.server.world.bodies.velocity).max()) > 3.0)  # under way
    options = ["--port", str(server.port), "--record", str(path), "--seconds", "1.0", "--size", "321x180"]
    done = CliRunner().invoke(app, ["view", *options])
    assert (done.exit_code, done.stdout) == (0, f"{path}: 20 frames\n"), done.output
    pictures = frames(path)
    assert len(pictures) == 20 and pictures[0].shape == (180, 320, 3)
    changes = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(pictures)]
    assert sum(c > 0.2 for c in changes) >= 16, "the car drives"
    assert all(p.std() > 20 for p in pictures)
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mp4"]


@pytest.mark.slow
def test_ctrl_c_completes_a_film(serve: Callable[..., Running], tmp_path: Path) -> None:
    server, path = serve(npc=1), tmp_path / "drive.mp4"
    process = subprocess.Popen(
        [*CLI, "view", "--port", str(server.port), "--record", str(path)], stdout=subprocess.PIPE
    )
    partial = tmp_path / ".drive.partial.mp4"
    until(lambda: partial.is_file())
    begun = server.server.world.frame
    until(lambda: server.server.world.frame >= begun + 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert len(frames(path)) >= 5
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mp4"]


def _limit_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))


def test_one_line_says_why_there_is_no_view(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    port, busy = str(server.port), str(server.port)
    good = tmp_path / "a.mp4"
    monkeypatch.setattr(film_module, "PATIENCE", 0.2)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command's handlers would outlive the test
    cases: list[tuple[list[Any], str]] = [
        (["--port", "1"], "no simulator can be watched at 127.0.0.1:1: Connection refused"),
        (["--port", port, "--http-port", busy], f"port {busy} of 127.0.0.1: Address already in use"),
        (["--port", port, "--record", tmp_path / "no" / "a.mp4"], "a folder that exists"),
        (["--port", port, "--record", tmp_path / "a.avi"], "give the name of an .mp4 file"),
        (["--port", port, "--record", good, "--size", "wide"], "give WIDTHxHEIGHT"),
        (["--port", port, "--record", good, "--size", "9999x9999"], "16x16 to 4096x4096"),
        (["--port", port, "--record", good, "--camera", "4711"], "there is no camera 4711"),
        (["--port", port, "--record", good], "no vehicle to follow"),
    ]
    for arguments, expected in cases:
        done = CliRunner().invoke(app, ["view", *map(str, arguments)])
        assert done.exit_code == 2, (arguments, done.output)
        assert expected in done.stderr and len(done.stderr.splitlines()) == 1, (arguments, done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_film(serve: Callable[..., Running], tmp_path: Path) -> None:
    server = serve(npc=1)
    path = tmp_path / "a.mp4"
    # Without a coverage measurement, whose file would not fit either.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    options: dict[str, Any] = {"preexec_fn": _limit_files, "env": environment}
    done = film("--port", str(server.port), "--record", path, "--seconds", "3", **options)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done
    assert f"cannot write {path}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_serves_the_page_until_it_is_told_to_end(serve: Callable[..., Running]) -> None:
    server = serve(npc=1)
    process = subprocess.Popen(
        [*CLI, "view", "--port", str(server.port), "--http-port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    port = int(re.search(r"at http://127\.0\.0\.1:(\d+)/", line).group(1))  # type: ignore[union-attr]
    assert ask(port, "GET", "/map.json")[0] == 200
    process.terminate()
    assert process.wait(PATIENCE) == 0
