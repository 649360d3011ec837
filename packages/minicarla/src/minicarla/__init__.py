"""minicarla: a CARLA 0.9.16 server without a GPU.

The unmodified ``carla`` 0.9.16 Python client connects to it over CARLA's own wire protocol.
``minicarla serve`` runs it from the command line, ``minicarla.server.CarlaServer`` from Python.
"""

__all__ = ["CARLA_VERSION", "__version__"]

__version__ = "0.1.0"

CARLA_VERSION = "0.9.16"
"""The CARLA release whose wire protocol the server speaks."""
