"""Drivers that need no Traffic Manager; traffic lights."""

from minicarla.traffic.drivers import Traffic

__all__ = ["Traffic"]
