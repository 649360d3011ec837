"""Damage OpenDRIVE maps a little, again and again, and use each as a server does.

    python -m verification.opendrive_fuzz [--seconds 600] [--seed 0] [--keep FOLDER] [MAP.xodr ...]

Every map is a sound one (a small one, a bundled one, or one that is named) with one to three small faults:
a number replaced or moved a little, a record repeated next to itself or beyond the end of its road, elements
left out or exchanged.  Each is loaded; its spawn points, sidewalks and ground are made, two pictures are
taken, a ray is sent to the ground, and a world with it takes three ticks.  A map may be refused with a
reason.  Anything else that goes wrong is printed with the seed that reproduces it.  The exit status is 1 when
there was such a fault.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from minicarla import maps
from minicarla.maps.opendrive import decode
from packages.minicarla.tests.damaged_maps import SMALL, Laboratory, damage


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("maps", nargs="*", type=Path, help="more maps to damage")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the first map (default: 0)")
    parser.add_argument("--keep", type=Path, help="folder to keep the maps that failed in")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    warnings.simplefilter("error")  # an unexpected overflow is a fault, too

    texts = dict(SMALL)
    for name in maps.available():
        texts[name] = maps.load(name).opendrive
    for path in options.maps:
        texts[path.stem] = decode(path.read_bytes())
    names = [*4 * [*SMALL], *(name for name in texts if name not in SMALL)]  # small ones take less time

    laboratory = Laboratory()
    outcomes: Counter[str] = Counter()
    slowest = 0.0, 0
    end = time.monotonic() + options.seconds
    seed = options.seed
    while time.monotonic() < end:
        dice = random.Random(seed)
        name = dice.choice(names)
        text = damage(texts[name], dice)
        start = time.monotonic()
        try:
            outcomes["refused" if laboratory.try_text(text) is None else "loaded"] += 1
        except Exception as error:
            outcomes["fault"] += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            print(f"seed {seed} ({name}): {error!r} in {place.filename}:{place.lineno}", flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{name}-{seed}.xodr").write_text(text, "utf-8")
        slowest = max(slowest, (time.monotonic() - start, seed))
        seed += 1
    counts = ", ".join(f"{outcomes[kind]} {kind}" for kind in ("loaded", "refused", "fault"))
    print(f"{outcomes.total()} maps: {counts}; the slowest took {slowest[0]:.1f} s (seed {slowest[1]})")
    return 1 if outcomes["fault"] else 0


if __name__ == "__main__":
    sys.exit(main())
