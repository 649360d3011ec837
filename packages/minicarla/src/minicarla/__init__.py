"""minicarla: a CARLA 0.9.16 server without a GPU.

The unmodified ``carla`` 0.9.16 Python client connects to it over CARLA's own wire protocol.  From the
command line ``minicarla serve`` runs it; from Python::

    import threading
    from minicarla import CarlaServer

    server = CarlaServer(port=0, map="town", npc=20, seed=1)  # 0: a free port, which server.port names
    threading.Thread(target=server.run, daemon=True).start()
    ...  # another process connects: carla.Client("127.0.0.1", server.port)
    server.stop()

CARLA's client has to run in another process.  It holds Python's global lock while it waits for an answer, so
a server in a thread of the same process could never answer.

``CarlaServer(...)`` raises ``OSError`` when the port is taken, ``FileNotFoundError`` when there is no such
map, and ``ValueError`` when a map or a fault cannot be read.  docs/minicarla.md says what the server does
and where it differs from CARLA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minicarla.server import CarlaServer

__all__ = ["CARLA_VERSION", "CarlaServer", "__version__"]

__version__ = "0.1.0"

CARLA_VERSION = "0.9.16"
"""The CARLA release whose wire protocol the server speaks."""


def __getattr__(name: str) -> object:
    """Import the server on first use, so that ``import minicarla`` and ``minicarla --help`` stay quick."""
    if name == "CarlaServer":
        from importlib import import_module

        return import_module("minicarla.server").CarlaServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
