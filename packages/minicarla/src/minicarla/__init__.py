"""minicarla: a CARLA 0.9.16 server without a GPU.

The real ``carla`` 0.9.16 Python client connects to it over CARLA's own wire
protocol.  The package is a product of its own and imports nothing of ``av_td3``.
"""

__version__ = "0.1.0"

#: The CARLA release whose wire protocol is spoken.
CARLA_VERSION = "0.9.16"
