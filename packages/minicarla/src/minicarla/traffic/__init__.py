"""The server's own traffic: vehicles that need no Traffic Manager, pedestrians, traffic lights."""

from minicarla.traffic.drivers import Traffic

__all__ = ["Traffic"]
