"""The machine and what surrounds the learner: speed, memory, failures of the simulator, the code."""

from __future__ import annotations

from .model import Alias, Signal, aliases

_AVERAGE = "the average since the start, not the present rate"
_SB3 = f"Stable-Baselines3 logs {_AVERAGE}"
_CLEANRL = f"CleanRL logs {_AVERAGE}"

STEPS_PER_S = Signal(
    "fps",
    "system/steps_per_s",
    "environment steps a second over the log interval",
    "1/s",
    "last",
    "steady",
    aliases(
        Alias("time/fps", _SB3),
        Alias("charts/SPS", _CLEANRL),
        "train/fps",
        "fps",
        "SPS",
        "total/steps_per_second",
        "performance/step_fps",
        "performance/step_inference_rl_update_fps",
        "perf/_fps",
        "steps_per_second",
    ),
)
UPDATES_PER_S = Signal(
    "updates_per_s",
    "system/updates_per_s",
    "updates of the critic a second over the log interval",
    "1/s",
    "last",
    "steady",
)
RSS = Signal(
    "rss",
    "system/rss_mb",
    "memory of the training process (resident set size)",
    "MiB",
    "last",
    "steady once the replay is full",
    aliases(
        "system/memory_mb",
        "memory/rss_mb",
        "rss_mb",
        "process/memory_mb",
        "memory_mb",
        "stats/master_process_memory_mb",
        "system.proc.memory.rssMB",
        Alias("usage/psutil/proc_ram_gb", "in GB"),
        Alias("memory_gb", "in GB"),
    ),
)
GPU = Signal(
    "gpu",
    "system/gpu_mb",
    "memory that PyTorch has allocated on the GPU; 0 without one",
    "MiB",
    "last",
    "steady",
    aliases("gpu_mb", "system/gpu_memory_mb"),
)
RESTARTS = Signal(
    "restarts", "system/restarts", "restarts of the simulator so far", "", "last", "does not rise"
)
DOWNTIME = Signal(
    "downtime",
    "system/downtime_s",
    "seconds for which simulators were away after failures so far, those of all environments added",
    "s",
    "last",
    "does not rise",
)
INCIDENTS = Signal(
    "incidents_recent",
    "system/incidents_recent",
    "incidents of the simulator in the last 1,000 steps",
    "",
    "last",
    "0",
)
CODE_CHANGED = Signal(
    "code_changed",
    "system/code_changed",
    "1 when the code on disk is not the code that the run recorded at its start, else 0",
    "",
    "last",
    "0",
)
