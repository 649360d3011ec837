"""Drives for many ticks among vehicles of CARLA's Traffic Manager, which fails now and then.

    python -m verification.traffic_manager [--ticks 200000] [--npc 20] [--silent-every 10000] [--json FILE]

CARLA's client can fail in two ways with a synchronous Traffic Manager.  It can lose a wake-up, and then hangs
for ever (``minicarla.server.pacing`` says how).  And an answer that comes too late ends the whole process:
"terminate called after throwing an instance of TimeoutException".  The server of this trial does nothing
against the first, and brings about the second at every ``--silent-every``-th tick.  The classical driver
drives.  It is checked that all ticks are made, that each step is ``action_repeat`` ticks, and that no process
is left at the end; otherwise the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from av_td3.config import EnvConfig
from av_td3.driving.termination import SIMULATOR_FAULT
from av_td3.evaluation.baselines import ClassicalDriver
from av_td3.supervision.supervised import SupervisedEnv

REPEAT = 2
"""Ticks in a step, as in the presets."""


def serve(port: int, map_name: str, silent_every: int) -> None:
    """Be a minicarla that does not wait for Traffic Managers, and now and then does not answer one."""
    from minicarla.server import CarlaServer
    from minicarla.server.pacing import ManagerPacing

    for name in ("hold", "is_settling"):
        setattr(ManagerPacing, name, lambda self, *tick: False)
    CarlaServer(port, map=map_name, faults=f"silence:apply_batch@every={silent_every}").run()


def drive(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the ticks; returns what was counted."""
    trial = [sys.executable, "-m", "verification.traffic_manager", "--map", options.map]
    trial += ["--silent-every", str(options.silent_every), "--serve"]
    config = EnvConfig.model_validate(
        {
            "simulator": {
                "map": options.map,
                "npc": options.npc,
                "traffic": "traffic_manager",
                "command": f"{shlex.join(trial)} {{port}}",
                "max_restarts_per_hour": 2_000,
            },
            "action_repeat": REPEAT,
        }
    )
    ticks = episodes = frame = 0
    wrong: list[str] = []
    driver = ClassicalDriver(config)
    begin = shown = time.monotonic()
    with SupervisedEnv(config, log_dir=folder) as env:
        observation, info = env.reset(seed=options.seed)
        while ticks < options.ticks:
            driver.watch(info)
            observation, _, terminated, truncated, info = env.step(driver(observation))
            if info.get("termination") != SIMULATOR_FAULT:
                made, frame = info["frame"] - frame, info["frame"]
                ticks += made
                broken_off = terminated and 0 < made < REPEAT  # an end may come within a step
                if made != REPEAT and not broken_off:
                    wrong.append(f"a step of {made} ticks to frame {frame}")
            if terminated or truncated:
                episodes += 1
                observation, info = env.reset()
                driver.reset(episodes)
                frame = info["frame"]
            if time.monotonic() - shown > 30.0:
                shown = time.monotonic()
                print(f"{ticks} ticks, {episodes} episodes, {len(env.incidents)} incidents", file=sys.stderr)
        seconds = time.monotonic() - begin
        kinds = Counter(f"{i.during}: {i.kind}" for i in env.incidents)
    recoveries = folder / "recoveries.jsonl"
    lines = recoveries.read_text().splitlines() if recoveries.exists() else []
    away = [json.loads(line)["seconds"] for line in lines]
    return {
        "ticks": ticks,
        "episodes": episodes,
        "npc": options.npc,
        "minutes": seconds / 60.0,
        "ticks_per_s": ticks / (seconds - sum(away)),
        "incidents": dict(kinds),
        "away_s": {"median": statistics.median(away), "worst": max(away), "sum": sum(away)} if away else {},
        "wrong": wrong,
    }


def main() -> int:
    """Run the trial; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ticks", type=int, default=200_000)
    parser.add_argument("--npc", type=int, default=20)
    parser.add_argument("--map", default="town")
    parser.add_argument("--silent-every", type=int, default=10_000, metavar="TICKS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.map, options.silent_every)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = drive(options, Path(folder))
    result["processes_left"] = len(psutil.Process().children(recursive=True))
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(result["wrong"] or result["processes_left"]))


if __name__ == "__main__":
    sys.exit(main())
