"""What can go wrong between the environment and the simulator, by what helps against it."""

from __future__ import annotations


class DrivingError(RuntimeError):
    """Base of the environment's own errors."""


class UsageError(DrivingError, ValueError):
    """A call that makes no sense, such as a route that does not exist; the environment is as before."""


class InvalidActionError(UsageError):
    """An action of another shape than (2,), or with a NaN or an infinity in it."""


class SetupError(DrivingError):
    """The environment cannot work as configured; trying again does not help."""


class SimulatorUnreachableError(SetupError):
    """No CARLA server answers at the address."""


class SimulatorVersionError(SetupError):
    """The server is not the CARLA version that the client speaks."""


class MapUnavailableError(SetupError):
    """The server does not have the map, or it has no routes of the wanted length."""


class ServerTakenError(SetupError):
    """Another client drives on the server; the message says which."""


class SimulatorFaultError(DrivingError):
    """The simulator stopped answering, lost an actor or a picture; a fresh one may work."""
