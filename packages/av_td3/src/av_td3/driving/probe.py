"""Ask a CARLA server who it is: ``python -m av_td3.driving.probe HOST:PORT [TICKS]`` prints JSON.

A program of its own, because CARLA's client can hang, or abort the process that holds it.  Without ticks it
changes nothing on the server.  Exit status 1: no answer; the reason is the last line on stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import carla

from av_td3.config import parse_address


def probe(address: str, ticks: int, timeout_s: float = 10.0) -> dict[str, Any]:
    """What the server says of itself.

    Args:
        address: ``host:port``.
        ticks: how often the world is stepped; only for a server of our own.
        timeout_s: how long one call may take.

    Raises:
        RuntimeError: no CARLA server answers.
    """
    host, port = parse_address(address)
    client = carla.Client(host, port, worker_threads=1)
    client.set_timeout(timeout_s)
    # Asked first: with a server of another version the next call may do anything.
    facts: dict[str, Any] = {"client": version("carla"), "server": client.get_server_version()}
    if not facts["server"].startswith(facts["client"]):
        return facts
    world = client.get_world()
    facts["map"] = world.get_map().name.rsplit("/", 1)[-1]
    facts["synchronous"] = world.get_settings().synchronous_mode
    facts["vehicles"] = len(world.get_actors().filter("vehicle.*"))
    for _ in range(ticks):
        world.tick(timeout_s)
    return facts


def main(arguments: Sequence[str]) -> int:
    """Print what the server says; the exit status."""
    try:
        print(json.dumps(probe(arguments[0], int(arguments[1]) if len(arguments) > 1 else 0)))
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
