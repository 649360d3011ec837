"""For tests of CARLA code: a server of one's own in one line, and fixtures for pytest.

With minicarla installed, pytest has the fixtures ``carla_server``, ``carla_client``, ``carla_world``,
``carla_traffic_manager`` and ``carla_server_factory`` (:mod:`minicarla.testing.plugin`)::

    def test_a_car_moves(carla_world):
        ...

Other test frameworks, and programs, use :class:`ServerProcess`::

    with ServerProcess(map="loop") as server:
        client = carla.Client(server.host, server.port)

docs/testing.md is the manual.
"""

from __future__ import annotations

from minicarla.testing.process import ServerError, ServerProcess

__all__ = ["ServerError", "ServerProcess"]
