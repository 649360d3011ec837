"""A world behind sockets: what the real ``carla`` client connects to.

* ``loop``: one thread that waits for sockets and timers.
* ``connections``: sockets that never block, and the requests and replies of clients.
* ``streams``: world snapshots and sensor data, sent to whoever reads them.
* ``backlog``: when a client's tick has to wait because the client reads its sensors slowly.
* ``pacing``: when a client that runs Traffic Managers may be told of its tick.
* ``untold``: logs refused calls that the client does not report.
* ``limits``: how many connections of each kind are accepted.
* ``server``: puts these together around a world, and injects faults.
"""

from minicarla.server.server import CarlaServer

__all__ = ["CarlaServer"]
