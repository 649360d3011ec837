"""The server's memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator

from verification.minicarla_proofs.stage import ClientProcess, Finding, ServerProcess, slope

MOST = 5.0
"""MB by which it may grow after the warm-up, and per thousand cycles or hundred thousand ticks."""


def prove(short: bool) -> Iterator[Finding]:
    """Spawn and destroy actors many times; then drive for a long time."""
    # The warm-up takes each of the town's 401 spawn points once.
    if short:
        yield _watch("cycles of spawning and destroying", "spawn_and_destroy", "loop", 0, 120, 150, 1000)
        yield _watch("ticks with 20 vehicles and a camera", "tick_on", "loop", 20, 600, 2000, 100_000)
    else:
        yield _watch("cycles of spawning and destroying", "spawn_and_destroy", "town", 0, 500, 1000, 1000)
        yield _watch("ticks with 20 vehicles and a camera", "tick_on", "town", 20, 5000, 100_000, 100_000)


def _watch(what: str, program: str, map_name: str, npc: int, warm_up: int, count: int, unit: int) -> Finding:
    """Memory during a client's program: grown after the warm-up, and per ``unit`` by least squares."""
    every = warm_up // 20
    done: list[int] = []
    memory: list[float] = []
    actors: set[int] = set()
    with (
        ServerProcess(map_name, "--npc", str(npc), "--seed", "1") as server,
        ClientProcess(program, server.port, warm_up + count, every) as client,
    ):
        while not done or done[-1] + every <= warm_up + count:
            told = client.hear()
            done.append(told["done"])
            actors.add(told["actors"])
            memory.append(server.resident())
            client.tell(None)
    warm = done.index(warm_up // every * every)
    grown = memory[-1] - memory[warm]
    trend = slope(done[warm:], memory[warm:]) * unit
    found = (
        f"{memory[warm]:.1f} MB after a warm-up of {warm_up}, {memory[-1]:.1f} MB at the end,"
        f" {max(memory):.1f} MB at most; grown by {grown:.2f} MB, slope {trend:.2f} MB per {unit}"
    )
    if len(actors) > 1:
        found += f"; between {min(actors)} and {max(actors)} actors are left"
    # In a short run the slope is only the noise of a few pages.
    flat = grown < MOST and (trend < MOST or count < unit)
    return Finding(f"memory flat over {count} {what}", found, flat and len(actors) == 1)
