"""The same seed and the same calls give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verification.minicarla_proofs.stage import Finding, ServerProcess, ask, empty_home

NPC = 50
WALKERS = 10
CROWD = 5


def run(map_name: str, ticks: int, seed: int, hashing: str, dawdle: int) -> dict[str, Any]:
    """Digests of one episode, with a server and a client of its own."""
    options = ("--npc", str(NPC), "--walkers", str(WALKERS), "--seed", str(seed))
    with (
        ServerProcess(map_name, *options, environment={"PYTHONHASHSEED": hashing}) as server,
        empty_home() as home,
    ):
        return ask(
            "repeat", server.port, ticks, CROWD, dawdle, patience=600.0, PYTHONHASHSEED=hashing, **home
        )


def prove(short: bool) -> Iterator[Finding]:
    """Run everything twice; compare the raw messages and what the client reads in them."""
    ticks = 100 if short else 2000
    for map_name in ("grid",) if short else ("town", "grid"):
        first = run(map_name, ticks, 1, "1", 0)
        second = run(map_name, ticks, 1, "2", 1)
        other = run(map_name, min(ticks, 50), 2, "1", 0)
        differ = [
            name for name in ("messages", "snapshots", "pictures", "driven") if first[name] != second[name]
        ]
        found = (
            f"{'different ' + ', '.join(differ) if differ else 'identical'} over {ticks} ticks with"
            f" {NPC} vehicles, {WALKERS} walkers and {first['crowd']} of the client's,"
            f" ego {first['driven']:.0f} m; every byte compared; another seed gives other bytes"
        )
        moved = first["driven"] > 0.05 * ticks and first["crowd"] == CROWD
        differs = first["messages"] != other["messages"]
        yield Finding(
            f"the same seed and calls give the same bytes on {map_name}, in two servers and two clients",
            found if differs else "another seed gave the same bytes",
            not differ and differs and moved,
        )
