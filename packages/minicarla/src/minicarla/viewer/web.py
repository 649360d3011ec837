"""The HTTP server of the viewer's page, around a :class:`WatchedSimulator`."""

from __future__ import annotations

import ipaddress
import json
import logging
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

import cv2

from minicarla.viewer.drawing import drawing
from minicarla.viewer.source import FAILURES, WatchedSimulator

log = logging.getLogger("minicarla")

MAX_BODY = 4096
"""Bytes of the longest request body that is read."""
MAX_CONNECTIONS = 64
"""Connections that are served at a time, each by a thread; further ones are closed at once."""
_POLICY = (
    "default-src 'none'; img-src 'self' blob:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


class Viewer(ThreadingHTTPServer):
    """Serves the page in threads of its own, from ``serve_forever`` until ``shutdown``.

    There is no authentication: whoever can reach the address can look.

    ===========================  ===================================================
    ``GET /``                    the page
    ``GET /map.json``            what is drawn once, see ``drawing``
    ``GET /state.json``          the latest tick, see ``WatchedSimulator.state``
    ``GET /drawings.json``       what clients draw with ``world.debug``, see ``drawn``
    ``GET /camera/ID.jpg``       a camera's latest picture; ``chase`` is the viewer's own
    ``POST /chase``              ``{"actor": ID or null}``: which actor the chase camera follows
    ===========================  ===================================================

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, source: WatchedSimulator, host: str, port: int) -> None:
        self.source = source
        self._drawing: tuple[int, bytes] = (-1, b"")
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def map_json(self) -> bytes:
        """The map's drawing as JSON, computed once for each map; empty while there is no map."""
        roadmap, revision = self.source.roadmap, self.source.revision
        if roadmap is not None and self._drawing[0] != revision:
            self._drawing = revision, json.dumps({"revision": revision, **drawing(roadmap)}).encode()
        return self._drawing[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a viewer's connection broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    timeout = 10.0  # seconds that a connection may stay silent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self._trusted():
            return
        path = self.path.split("?", 1)[0]
        if path == "/":
            page = (resources.files("minicarla.viewer") / "page.html").read_bytes()
            self._answer(page, "text/html; charset=utf-8")
        elif path == "/map.json":
            self._answer(self.server.map_json() or b"{}", "application/json")
        elif path == "/state.json":
            self._answer(json.dumps(self.server.source.state()).encode(), "application/json")
        elif path == "/drawings.json":
            self._answer(json.dumps(self.server.source.drawings()).encode(), "application/json")
        elif path.startswith("/camera/") and path.endswith(".jpg"):
            self._picture(path.removeprefix("/camera/").removesuffix(".jpg"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        if not self._trusted():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/chase" or self.headers.get("Content-Type") != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "only POST /chase with JSON is understood")
            return
        if not length.isdigit() or int(length) > MAX_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long")
            return
        try:
            actor = json.loads(self.rfile.read(int(length)))["actor"]
            if actor is not None and type(actor) is not int:
                raise ValueError("actor is an id or null")
            camera = self.server.source.chase(actor)
        except (KeyError, RecursionError, *FAILURES) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._answer(json.dumps({"camera": camera}).encode(), "application/json")

    def _picture(self, name: str) -> None:
        source = self.server.source
        chase = source.chase_camera
        actor_id = chase if name == "chase" else int(name) if name.isdigit() and len(name) < 11 else None
        picture = source.camera(actor_id) if actor_id is not None else None
        if picture is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no picture of this camera yet")
            return
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        self._answer(jpeg.tobytes(), "image/jpeg")

    def _trusted(self) -> bool:
        """Refuse requests that another web site makes through the browser of somebody who looks at this page.

        Such a site can let its own name resolve to 127.0.0.1 (DNS rebinding), so on the loopback interface
        the name in ``Host`` must be a local one.
        """
        host = self.headers.get("Host", "").rsplit(":", 1)[0].strip("[]")
        own = self.server.server_address[0]
        try:
            known = host == "localhost" or ipaddress.ip_address(host).is_loopback or host == own
        except ValueError:
            known = False
        if not known and own in ("127.0.0.1", "::1"):
            self._refuse(HTTPStatus.FORBIDDEN, "this viewer answers to localhost only")
            return False
        origin = self.headers.get("Origin")
        if origin is not None and origin.split("://", 1)[-1] != self.headers.get("Host", ""):
            self._refuse(HTTPStatus.FORBIDDEN, "requests come from the viewer's own page only")
            return False
        return True

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._answer(json.dumps({"error": text}).encode(), "application/json", status)

    def log_message(self, format: str, *arguments: Any) -> None:
        log.debug(format, *arguments)
