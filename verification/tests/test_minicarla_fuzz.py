"""A short form of ``python -m verification.minicarla_fuzz``."""

from __future__ import annotations

import socket
import threading

import msgpack
import pytest

from minicarla.server import CarlaServer
from verification.minicarla_fuzz import Foe


@pytest.mark.slow
def test_requests_of_the_right_shape_with_extreme_values_cause_no_internal_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = CarlaServer(0, map="loop", synchronous=True)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        foe, replies = Foe(server.port, seed=5), msgpack.Unpacker(max_buffer_size=1 << 28)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20.0) as sock:
            for _ in range(1000):
                sock.sendall(foe.plausible())
                while not list(replies):
                    data = sock.recv(1 << 18)
                    assert data, "the server closed the connection"
                    replies.feed(data)
    finally:
        server.stop()
        thread.join(20.0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
