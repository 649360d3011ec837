"""Runs the probes: can the agent learn what is trivial, and if not, which part is broken?

    python -m verification.probes
    python -m verification.probes --sees separate shared --set agent.critic_layer_norm=true --seed 1

Each probe is an environment of one or two steps with a known answer (av_td3.reference.probes).  The exit
status is 1 when one is not solved; the first one that is not says where to look.  It takes about a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

import torch
import yaml
from pydantic import ValidationError

from av_td3.config import explain
from av_td3.reference import probes


def main(words: Sequence[str] | None = None) -> int:
    """Print a line for each probe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = get_args(probes.Sees)
    parser.add_argument(
        "--sees", nargs="+", choices=kinds, default=kinds, help="how the agent sees the observation"
    )
    parser.add_argument("--set", action="append", default=[], metavar="agent.KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(words)
    settings = {}
    for text in options.set:
        key, separator, value = text.partition("=")
        if not separator or not key.startswith("agent."):
            parser.error(f"--set {text}: give agent.KEY=VALUE")
        settings[key.removeprefix("agent.")] = yaml.safe_load(value)
    torch.set_num_threads(1)  # networks of this size gain nothing from a second
    failed = False
    for sees in options.sees:
        for probe in probes.PROBES:
            try:
                result = probes.solve(probe, sees, settings, seed=options.seed)
            except ValidationError as error:
                parser.error(explain(error, "agent."))
            print(result, flush=True)
            failed |= not result.solved
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
