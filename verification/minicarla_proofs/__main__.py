"""``python -m verification.minicarla_proofs``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from verification.minicarla_proofs import (
    agreement,
    cost,
    determinism,
    fuzz,
    lane_invasion,
    memory,
    start,
    traffic_manager,
    vanishing,
)
from verification.minicarla_proofs.stage import Finding

PROOFS: dict[str, Callable[[bool], Iterator[Finding]]] = {
    "determinism": determinism.prove,
    "agreement": agreement.prove,
    "lane-invasion": lane_invasion.prove,
    "vanishing": vanishing.prove,
    "traffic-manager": traffic_manager.prove,
    "start": start.prove,
    "cost": cost.prove,
    "memory": memory.prove,
    "fuzz": fuzz.prove,
}


def main() -> int:
    """Run proofs; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m verification.minicarla_proofs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(PROOFS)}; default: all")
    parser.add_argument("--short", action="store_true", help="fewer ticks, cycles and tries")
    options = parser.parse_args()
    if unknown := set(options.names) - set(PROOFS):
        parser.error(f"no proof is called {', '.join(sorted(unknown))}")
    failed = 0
    for name in options.names or PROOFS:
        begin = time.monotonic()
        for finding in PROOFS[name](options.short):
            failed += not finding.held
            verdict = "held" if finding.held else "NOT HELD"
            print(f"{name}: {finding.promised}: {finding.found}: {verdict}", flush=True)
        print(f"({name}: {time.monotonic() - begin:.0f} s)", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
