"""Batches for the updates; a thread can prepare each of them while the update before it computes.

What a batch contains depends on no timing: it is drawn from the replay as it is when the update before it
begins, and nothing is stored until it is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
import torch

from av_td3.agent.replay import Sample
from av_td3.agent.td3 import Batch


class Batches:
    """Gives each update its batch."""

    def __init__(self, draw: Callable[[], Batch], ahead: bool) -> None:
        """Args:
        draw: draws a batch from the replay and delivers it to the device.
        ahead: a thread draws the next batch during :meth:`preparing_next`.
        """
        self._draw = draw
        self._thread = ThreadPoolExecutor(1, "batches") if ahead else None
        self._prepared: Batch | None = None

    def next(self) -> Batch:
        """The prepared batch; one that is drawn now where none is prepared."""
        prepared, self._prepared = self._prepared, None
        return self._draw() if prepared is None else prepared

    @contextmanager
    def preparing_next(self) -> Iterator[None]:
        """While the block computes an update, the next batch is prepared.

        The block lasts until the batch is ready, so that nothing is written into the replay meanwhile.

        Raises:
            Exception: what the thread raised, with the thread's traceback.
        """
        if self._thread is None:
            yield
            return
        preparing = self._thread.submit(self._draw)
        try:
            yield
        finally:
            wait([preparing])
        self._prepared = preparing.result()

    def discard(self) -> None:
        """Throw the prepared batch away: a checkpoint does not hold it."""
        self._prepared = None

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown()


def to_batch(sample: Sample, device: torch.device) -> Batch:
    """Numpy to torch, on the device; images stay uint8.  What is on the device already stays there."""

    def move(array: np.ndarray | torch.Tensor) -> torch.Tensor:
        if isinstance(array, torch.Tensor):
            return array
        tensor = torch.from_numpy(array)
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)

    return Batch(
        move(sample.image),
        move(sample.vector),
        move(sample.action),
        move(sample.reward),
        move(sample.discount),
        move(sample.next_image),
        move(sample.next_vector),
        move(sample.demonstrated),
    )
