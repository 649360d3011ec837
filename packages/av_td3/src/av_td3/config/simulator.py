"""``env.simulator``: which CARLA server, its map and traffic, and how its failures are handled."""

from __future__ import annotations

import shlex
from typing import Literal

from pydantic import Field, NonNegativeFloat, field_validator, model_validator

from av_td3.config.section import Section


def parse_address(address: str) -> tuple[str, int]:
    """``host:port``, or ``host`` for port 2000, as a pair.

    Raises:
        ValueError: it is neither; the message says what is allowed.
    """
    host, separator, port = address.rpartition(":")
    if not separator:
        host, port = address, "2000"
    # The server's two further ports follow the first.
    if not host or any(c.isspace() for c in host) or not port.isdecimal() or not 1 <= int(port) <= 65533:
        raise ValueError(
            f"{address!r} is not an address: give host:port, port 1 to 65533, such as 127.0.0.1:2000"
        )
    return host, int(port)


class SimulatorConfig(Section):
    """Which CARLA server, and how its failures are handled."""

    address: str | None = None
    """``host:port`` of a running CARLA 0.9.16 server.  null: a server is started for this run."""

    command: str | None = None
    """Command that starts a CARLA server for this run.  {port} in it becomes a port that is free, as the next
    two are.  Such as ``/opt/carla/CarlaUE4.sh -RenderOffScreen -carla-rpc-port={port}``.  null: minicarla."""

    @field_validator("command")
    @classmethod
    def _is_a_command(cls, command: str | None) -> str | None:
        if command is not None:
            try:
                parts = shlex.split(command.format(port=2000))
            except (ValueError, KeyError, IndexError) as error:
                raise ValueError(f"{command!r} cannot be read as a command: {error}") from None
            if not parts or "{port}" not in command:
                raise ValueError(f"{command!r} must have {{port}} where the server is told its port")
        return command

    @model_validator(mode="after")
    def _attached_or_started(self) -> SimulatorConfig:
        if self.address is not None and self.command is not None:
            raise ValueError(
                "give address, for a server that runs, or command, for one to be started; not both"
            )
        return self

    @property
    def is_minicarla(self) -> bool:
        """Whether the bundled simulator is started, and no other server is used."""
        return self.address is None and self.command is None

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, address: str | None) -> str | None:
        if address is not None:
            parse_address(address)
        return address

    map: str = "town"
    """Map to drive on: a bundled map of minicarla, the path of an .xodr file, or, on a CARLA server, the
    name of one of its maps, such as Town01."""
    npc: int = Field(default=0, ge=0, le=500)
    """Number of other vehicles.  A small map may have room for fewer; ``info["npc"]`` says how many."""
    npc_speed: tuple[NonNegativeFloat, NonNegativeFloat] | None = None
    """Least and largest share of the speed limit at which the other vehicles drive, such as [0.4, 1.0]; each
    vehicle draws its own.  null: all drive at the limit, or on CARLA as its Traffic Manager does."""
    npc_placement: Literal["anywhere", "near", "mixed"] = "anywhere"
    """Where they are at an episode's start.  anywhere: at random spawn points of the map.  near: at the spawn
    points nearest to the ego's start, so that it meets them.  mixed: near in about every second episode, as
    its seed decides, so that it also drives on free roads.  With the Traffic Manager they stay on the road
    from one episode to the next, so this counts in the first episode alone."""

    @field_validator("npc_speed")
    @classmethod
    def _is_a_range(cls, speed: tuple[float, float] | None) -> tuple[float, float] | None:
        if speed is not None and not 0.0 < speed[0] <= speed[1] <= 2.0:
            raise ValueError("give two shares of the speed limit, above 0, up to 2, the smaller one first")
        return speed

    traffic: Literal["auto", "server", "traffic_manager"] = "auto"
    """Who drives the other vehicles: the server itself (minicarla only), or the Traffic Manager of CARLA's
    client.  auto: the server on minicarla, the Traffic Manager on CARLA."""
    traffic_manager_port: int = Field(default=8000, ge=1024, le=65535)
    """TCP port of the Traffic Manager of training; evaluation takes the next port that is free."""
    client_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds that one call to the server may take, once the first episode has begun."""
    start_deadline_s: float = Field(default=60.0, gt=0)
    """Seconds that a server may take to start.  All four deadlines grow with what the run measures of its
    simulator, and after one that a new server missed."""
    map_deadline_s: float = Field(default=60.0, gt=0)
    """Seconds that a worker may take to connect and to load the map."""
    reset_deadline_s: float = Field(default=30.0, gt=0)
    """Seconds that a reset may take.  After that, worker and server are replaced."""
    step_deadline_s: float = Field(default=10.0, gt=0)
    """Seconds that an environment step may take.  After that, worker and server are replaced."""
    max_consecutive_restarts: int = Field(default=5, ge=0)
    """Failures in a row, without a finished step between them, after which the run gives up."""
    max_restarts_per_hour: int = Field(default=60, ge=0)
    """Failures within an hour after which the run gives up: a simulator that fails again and again."""
    max_restarts: int = Field(default=5_000, ge=0)
    """Failures in all after which the run gives up."""
    renew_after_episodes: int | None = Field(default=None, ge=1)
    """Episodes after which a server that was started for the run is replaced in good order.  null: never."""
    renew_after_hours: float | None = Field(default=None, gt=0)
    """The same by the server's age."""
    renew_above_gib: float | None = Field(default=None, gt=0)
    """The same by its memory, GiB: CARLA needs more the longer it runs."""
    faults: str | None = None
    """For tests: faults that minicarla is to commit, as in ``minicarla serve --faults``."""
