"""Synchronous Traffic Managers do not hang.

CARLA's client can miss the wake-up after a tick, and then waits for ever.  ``minicarla.server.pacing``
prevents it.
"""

from __future__ import annotations

from collections.abc import Iterator

from verification.minicarla_proofs.stage import ClientProcess, Finding, ServerProcess

VEHICLES = (20, 100)
TICKS = 500


def prove(short: bool) -> Iterator[Finding]:
    """Start clients with a synchronous Traffic Manager many times; count those that hang."""
    starts = 1 if short else 20
    for vehicles in VEHICLES:
        stood = sum(not _drives(vehicles, TICKS) for _ in range(starts))
        if short and stood:
            # Now and then the client loses a wake-up whatever the server does: try twice more.
            starts += 2
            stood = sum(not _drives(vehicles, TICKS) for _ in range(2))
        yield Finding(
            f"{vehicles} vehicles of a synchronous Traffic Manager, {starts} starts of {TICKS} ticks",
            f"{stood} hung",
            stood == 0,
        )


def _drives(vehicles: int, ticks: int) -> bool:
    """Whether a client reaches its last tick."""
    with (
        ServerProcess("town", "--seed", "1") as server,
        ClientProcess("manage", server.port, vehicles, ticks, patience=30.0) as client,
    ):
        try:
            for _ in range(ticks // 100):
                client.hear()
        except RuntimeError as error:
            if "was silent" not in str(error):
                raise
            return False
        return True
