"""A replay whose frames also lie on the training device, where stacks are gathered.

A batch of 256 transitions has 14 MB of pictures.  On a GPU they are not sent with every update: each frame is
sent once, when it is stored (7 kB), and an update sends the numbers of the slots.  The replay in the host's
memory stays what it is, since checkpoints are written from it.  A million frames of 84 x 84 take 7.1 GB on
the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from av_td3.agent.replay import SEGMENT, Observation, Replay, ReplayMemoryError


class DeviceReplay(Replay):
    """Samples exactly what :class:`Replay` samples; the pictures are tensors on ``device``."""

    def __init__(self, *arguments: Any, device: torch.device, **named: Any) -> None:
        """Arguments as of :class:`Replay`.

        Raises:
            ReplayMemoryError: the frames do not fit into the memory of the host, or of the device.
        """
        super().__init__(*arguments, **named)
        self.device = device
        needed = self.frame.nbytes
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if needed > 0.9 * free:  # the networks need some
                raise ReplayMemoryError(
                    f"the replay's frames need {needed / 2**30:.1f} GiB on {device} and "
                    f"{free / 2**30:.1f} GiB are free: lower replay.capacity, or "
                    "keep them in the host's memory: replay.device=cpu"
                )
        self._frames = torch.zeros(self.frame.shape, dtype=torch.uint8, device=device)

    def _push(self, observation: Observation, age: int, env: int) -> None:
        slot = self._slot(env)
        super()._push(observation, age, env)
        self._frames[slot].copy_(torch.from_numpy(self.frame[slot]))

    def restore_segment(self, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a saved segment."""
        super().restore_segment(number, arrays)
        start = number * SEGMENT
        part = slice(start, start + len(arrays["age"]))
        self._frames[part].copy_(torch.from_numpy(self.frame[part]))

    def _stacks(self, index: NDArray[np.int64]) -> Tensor:
        """(B, K, H, W) on the device, with channels last in memory."""
        slots = torch.from_numpy(self._slots_of_stacks(index)).to(self.device)
        stacks = self._frames.index_select(0, slots.flatten())
        stacks = stacks.view(len(index), self.stack, *self.frame.shape[1:])
        return stacks.contiguous(memory_format=torch.channels_last)
