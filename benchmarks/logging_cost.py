"""What logging costs: the share of training time spent on metrics, alerts, guards and logs.

    python -m benchmarks.logging_cost [--preset quick] [--steps 3000] [--json FILE]

Trains and times every call into the logging, from the first update on.  The update itself measures norms per
group before and after the clip for the logs.  This is timed against torch's own ``clip_grad_norm_`` on the
same gradients, and the difference is counted too.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from av_td3.agent import td3
from av_td3.agent.gradients import clip_gradients
from av_td3.config import load_config
from av_td3.health import guards, metrics
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import provenance
from av_td3.training.logger import Progress, RunLogger
from av_td3.training.memory import tune_allocator
from av_td3.training.run_directory import RunDirectory
from av_td3.training.trainer import Trainer
from av_td3.training.watch import Watch
from benchmarks import common


class Stopwatch:
    """Adds up the time in wrapped calls; a nested call counts once, for the outermost."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside = False

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return call(*arguments, **named)
            self._inside = True
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds[name] += time.perf_counter() - start
                self._inside = False

        return timed


class Silent:
    """A display that shows nothing."""

    def update(self, progress: Progress) -> None: ...

    def message(self, text: str) -> None: ...

    def status(self, text: str) -> None: ...


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    tune_allocator()
    config = load_config(arguments.preset, None, [f"train.steps={arguments.steps}", "train.max_minutes=null"])
    watch = Stopwatch()
    clip: defaultdict[str, float] = defaultdict(float)

    def compared(groups: Any, limit: float | None) -> Any:
        """Clip as the update does, and time torch's own clip on the same gradients."""
        parameters = [p for group in groups.values() for p in group]
        kept = [p.grad.clone() for p in parameters if p.grad is not None]
        report = None
        calls: dict[str, Callable[[], object]] = {
            "torch": lambda: torch.nn.utils.clip_grad_norm_(parameters, limit or float("inf")),
            "ours": lambda: clip_gradients(groups, limit),
        }
        clip["updates"] += 1
        # Each is first in turn: the first finds the gradients outside the processor's caches.
        for name in ("torch", "ours") if clip["updates"] % 2 else ("ours", "torch"):
            for parameter, gradient in zip(parameters, kept, strict=True):
                parameter.grad = gradient.clone()
            start = time.perf_counter()
            result = calls[name]()
            clip[name] += time.perf_counter() - start
            report = result if name == "ours" else report
        return report

    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config, provenance.collect())
        trainer = Trainer(
            config,
            run,
            lambda: SupervisedEnv(config.env, "train", log_dir=run.logs),
            lambda agent, step: {"eval/mean_reward": 0.0},
            Silent(),
        )
        began = [0.0]
        update = trainer.state.agent.update

        def first_update(batch: Any) -> Any:
            if not began[0]:
                began[0] = time.perf_counter()
                watch.seconds.clear()
            return update(batch)

        trainer.state.agent.update = first_update  # type: ignore[method-assign]
        patches = [mock.patch.object(td3, "clip_gradients", compared)]
        for module in (metrics, guards):
            names = [n for n in vars(module) if n.endswith("_scalars") or n.startswith("check_")]
            patches += [mock.patch.object(module, n, watch.wrap(n, getattr(module, n))) for n in names]
        calls_of: list[tuple[type, list[str]]] = [
            (RunLogger, ["environment_step", "before_update", "after_update", "row", "episode"]),
            (Watch, ["compare_code"]),
        ]
        for owner, names in calls_of:
            for name in names:
                label = f"{owner.__name__}.{name}"
                patches.append(mock.patch.object(owner, name, watch.wrap(label, getattr(owner, name))))
        for patch in patches:
            patch.start()
        trainer.train()
        for patch in patches:
            patch.stop()
        wall = time.perf_counter() - began[0] - clip["torch"]
    norms = max(0.0, clip["ours"] - clip["torch"])
    total = sum(watch.seconds.values()) + norms
    print(f"{trainer.state.agent.updates} updates in {wall:.1f} s")
    for name, seconds in [
        *sorted(watch.seconds.items(), key=lambda item: -item[1]),
        ("norms beyond torch's clip", norms),
    ]:
        if seconds > 1e-4 * wall:
            print(f"  {name:28} {seconds:7.2f} s  {100 * seconds / wall:5.2f} %")
    print(f"  {'in all':28} {total:7.2f} s  {100 * total / wall:5.2f} % of training time")
    shares = {name: seconds / wall for name, seconds in {**watch.seconds, "norms": norms}.items()}
    common.write_json(
        arguments.json,
        {"updates": trainer.state.agent.updates, "seconds": wall, "share": total / wall, "shares": shares},
    )


if __name__ == "__main__":
    main()
