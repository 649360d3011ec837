"""How the time of a tick grows with the number of vehicles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from verification.minicarla_proofs.stage import ClientProcess, Finding, ServerProcess

COUNTS = (0, 20, 50, 100)
TOLERANCE = 1.15
"""How many times as much as one of the first 50 a vehicle beyond 50 may cost; other work disturbs."""


def prove(short: bool) -> Iterator[Finding]:
    """Measure servers with different numbers of vehicles in turns, so that other load affects all alike."""
    rounds, ticks = (3, 60) if short else (15, 200)
    cpu: dict[int, list[float]] = {count: [] for count in COUNTS}
    rate: dict[int, list[float]] = {count: [] for count in COUNTS}
    with contextlib.ExitStack() as stack:
        pairs = {}
        for count in COUNTS:
            server = stack.enter_context(ServerProcess("town", "--npc", str(count), "--seed", "1"))
            client = stack.enter_context(ClientProcess("bursts", server.port))
            client.hear()
            pairs[count] = server, client
        for number in range(rounds + 1):
            for count, (server, client) in pairs.items():
                before = server.processor_time()
                client.tell(ticks)
                seconds = client.hear()
                if number:  # the first round warms up
                    rate[count].append(ticks / seconds)
                    cpu[count].append(1e3 * (server.processor_time() - before) / ticks)
        for _, client in pairs.values():
            client.tell(0)
    ms = {count: float(np.median(cpu[count])) for count in COUNTS}
    # The last vehicles must not cost more each than the first ones did.
    first = (ms[50] - ms[0]) / 50
    last = (ms[100] - ms[50]) / 50
    table = ", ".join(
        f"{count}: {np.median(rate[count]):.0f} ticks/s, {ms[count]:.2f} ms of processor time"
        for count in COUNTS
    )
    yield Finding(
        "the time of a tick grows at most linearly with the number of vehicles",
        f"{table}; a vehicle costs {1e3 * first:.0f} us up to 50, {1e3 * last:.0f} us from 50 to 100",
        last <= TOLERANCE * first,
    )
