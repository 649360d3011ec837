"""How long it takes from the start of the process to the first tick of a client."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from verification.minicarla_proofs.stage import TOWN01, ClientProcess, Finding, ServerProcess

BARS = {"loop": 1.0, "town": 3.0, "grid": 3.0, str(TOWN01): 3.0}  # seconds


def prove(short: bool) -> Iterator[Finding]:
    """Start each map a few times, in turns; then once without Python's cache, as after an installation."""
    names = (
        ["loop"] if short else [name for name in BARS if name in ("loop", "town", "grid") or TOWN01.is_file()]
    )
    tries = 2 if short else 5
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    measure(names[0])  # once, to fill the disk's cache
    for _ in range(tries):
        for name in names:
            times[name].append(measure(name))
    for name in names:
        bar, (median, cpu) = BARS[name], np.median(times[name], axis=0)
        worst = max(times[name])[0]
        yield Finding(
            f"from start to first tick under {bar:.0f} s on {Path(name).stem}",
            f"{median:.2f} s (median of {tries}), {worst:.2f} s (worst), of which the server computes"
            f" {cpu:.2f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            bool(median < bar),
        )
    if not short:
        with tempfile.TemporaryDirectory() as folder:
            cold, _ = measure("loop", PYTHONPYCACHEPREFIX=folder)
        yield Finding(
            "the first start after an installation from source, without compiled Python",
            f"{cold:.2f} s on loop, once (no bar)",
            True,
        )


def measure(map_name: str, **environment: str) -> tuple[float, float]:
    """Seconds from the start of ``minicarla serve`` to the first tick of a client that waits for it.

    The second figure is the processor time that the server spent until then.
    """
    with ClientProcess("first_tick") as client:
        client.hear()
        start = time.monotonic()
        with ServerProcess(map_name, environment=environment) as server:
            client.tell(server.port)
            return float(client.hear()) - start, server.processor_time()
