"""How many environments fit into memory: reckoned before anything is started."""

from __future__ import annotations

from pathlib import Path

import psutil

from av_td3.config import ConfigError, EnvConfig

SIMULATOR_BYTES = 225 << 20
"""A minicarla on the map town with 50 vehicles, 220 MiB; smaller maps take 110 to 130."""
WORKER_BYTES = 65 << 20
"""Both measured by ``python -m benchmarks.many_simulators`` (what is shared is counted in part)."""

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that can still be taken: of the machine, and of the container where that has a limit."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        return free if limit == "max" else min(free, max(0, int(limit) - used))
    except (OSError, ValueError):
        return free


def check_memory(config: EnvConfig, envs: int, *, evaluation: bool = False, replay_bytes: int = 0) -> None:
    """Refuse more environments than there is memory for.

    Args:
        config: of each environment.
        envs: how many are to be driven at once.
        evaluation: evaluations have one more beside them.
        replay_bytes: what the full replay takes.

    Raises:
        ConfigError: the message has the figures.
    """
    each = WORKER_BYTES + (SIMULATOR_BYTES if config.simulator.address is None else 0)
    more = int(evaluation)
    needed = (envs + more) * each + replay_bytes
    free = available_bytes()
    if envs == 1 or needed <= free:
        return
    fit = max(0, (free - replay_bytes) // each - more)
    one_more = ", and one for evaluations," if evaluation else ""
    replay = f" and {_gib(replay_bytes)} for the full replay" if replay_bytes else ""
    advice = f"{fit} fit" if fit else "Not one fits" + (": lower replay.capacity" if replay_bytes else "")
    raise ConfigError(
        f"{envs} environments{one_more} need {_gib((envs + more) * each)} of memory ({each >> 20} MiB each, "
        f"simulator and worker){replay}; {_gib(free)} are available. {advice}"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
