"""Same seed, same calls: the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verification.minicarla_proofs.stage import Finding, ServerProcess, ask, empty_home

NPC = 50
WALKERS = 10
CROWD = 5


def run(map_name: str, ticks: int, seed: int, hashing: str, dawdle: int) -> dict[str, Any]:
    """Digests of one episode, by a server and a client of its own."""
    options = ("--npc", str(NPC), "--walkers", str(WALKERS), "--seed", str(seed))
    with (
        ServerProcess(map_name, *options, PYTHONHASHSEED=hashing) as server,
        empty_home() as home,
    ):
        return ask(
            "repeat", server.port, ticks, CROWD, dawdle, patience=600.0, PYTHONHASHSEED=hashing, **home
        )


def prove(short: bool) -> Iterator[Finding]:
    """Two runs of everything: raw messages of world and camera, and the real client's view of them."""
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
            f" ego {first['driven']:.0f} m; no byte left out; another seed differs"
        )
        moved = first["driven"] > 0.05 * ticks and first["crowd"] == CROWD
        differs = first["messages"] != other["messages"]
        yield Finding(
            f"same seed, same calls, same bytes on {map_name} in two processes each",
            found if differs else "another seed gave the same bytes",
            not differ and differs and moved,
        )
