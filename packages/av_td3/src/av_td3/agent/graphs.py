"""The whole update as CUDA graphs.

A small update on a GPU is a few hundred kernels of a few microseconds each, and Python needs longer to
launch them than the GPU to run them.  A CUDA graph is a recording of these launches that is replayed with
a single call.  A recording is fixed: it reads its batch from the same memory each time and writes its
results to the same memory, it cannot wait for the GPU, and Python's branches are those that were taken
while it was made.  So there is one recording for each kind of update (:class:`Parts`), numbers that change
from update to update lie in tensors, and what has to be looked at is looked at after the replay.

On a device without graphs the same code runs with the computation itself in place of the recording.  Nobody
would train like that; tests do, where there is no GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from av_td3.agent.td3 import ActorStep, Batch, CriticStep

WARM_UP = 3
"""Updates of a kind before it is recorded: libraries choose their kernels and optimisers make their state."""


class Parts(NamedTuple):
    """What an update consists of beside the critic's step."""

    actor: bool
    targets: bool
    imitation: bool
    """Whether demonstrations count in the actor's step."""


Steps = tuple["CriticStep", "ActorStep | None"]
Compute = Callable[[Parts, "Batch"], Steps]


@dataclass
class _Recording:
    batch: Batch
    """Where the recording reads from."""
    steps: Steps
    """Where it writes to."""
    replay: Callable[[], None]


class GraphedUpdate:
    """Runs ``compute(parts, batch)`` eagerly at first, then as recordings."""

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self._compute = compute
        self._on_gpu = device.type == "cuda"
        self._recordings: dict[Parts, _Recording] = {}
        self._made: Counter[Parts] = Counter()
        self._stream = torch.cuda.Stream(device) if self._on_gpu else None
        self._pool = torch.cuda.graph_pool_handle() if self._on_gpu else None

    @property
    def recorded(self) -> frozenset[Parts]:
        """The kinds of updates that have been recorded."""
        return frozenset(self._recordings)

    def forget(self) -> None:
        """Record anew: tensors that a recording uses have been replaced."""
        self._recordings.clear()
        self._made.clear()

    def __call__(self, parts: Parts, batch: Batch) -> Steps:
        """One update.  The tensors of the result hold until the next one."""
        recording = self._recordings.get(parts)
        if recording is None:
            self._made[parts] += 1
            if self._made[parts] <= WARM_UP:
                return self._warm_up(parts, batch)
            recording = self._recordings[parts] = self._record(parts, batch)
        for place, value in zip(_tensors(recording.batch), _tensors(batch), strict=True):
            place.copy_(value)
        recording.replay()
        return recording.steps

    def _warm_up(self, parts: Parts, batch: Batch) -> Steps:
        if self._stream is None:
            return self._compute(parts, batch)
        # On a stream of its own, as the recording will be made: autograd remembers streams.
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            steps = self._compute(parts, batch)
        here.wait_stream(self._stream)
        return steps

    def _record(self, parts: Parts, batch: Batch) -> _Recording:
        """Nothing is computed here on a GPU; recording leaves weights and random numbers as they are."""
        kept = type(batch)(*(value.clone() for value in _tensors(batch)))
        if self._stream is None:
            return self._imitated(parts, kept)
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: another one may be copying the next batch to the device.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            steps = self._compute(parts, kept)
        return _Recording(kept, steps, graph.replay)

    def _imitated(self, parts: Parts, batch: Batch) -> _Recording:
        def replay() -> None:
            recording.steps = self._compute(parts, recording.batch)

        recording = _Recording(batch, None, replay)  # type: ignore[arg-type]
        return recording


def _tensors(batch: Batch) -> list[Tensor]:
    return [getattr(batch, field.name) for field in fields(batch)]
