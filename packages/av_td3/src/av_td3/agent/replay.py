"""Replay that stores every camera frame once.

A ring of *slots*.  A slot is one observation's newest frame and its vector; when an action
was taken there, also the action, who took it, the reward and whether that ended the episode for good.
The observation's stack is rebuilt from the slots before it, the next observation is the
slot after it.  An episode of T transitions takes T + 1 slots: the last one has no action.

    slot     0    1    2    3    4  |  5    6   ...
    frame    f0   f1   f2   f3   f4 |  g0   g1
    action   a0   a1   a2   a3   -  |  b0   ...
    age      0    1    2    3    4  |  0    1           steps since the episode's start

An episode that ended early because the simulator failed needs no special case.  Its last observation
has no action, so no transition is lost and none is invented.

Several environments that are driven at once have a ring each, of equal size.  The rings are interleaved:
environment i of N writes the slots i, i + N, i + 2 N, ...  So what follows a slot lies N slots further, and
no stack holds frames of two environments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Pictures: TypeAlias = Union[NDArray[np.uint8], "torch.Tensor"]
"""Arrays; tensors where a :class:`DeviceReplay` stacks them."""

Observation = Mapping[str, NDArray[Any]]  # {"image": (K, H, W) uint8, "vector": (V,) float32}

NOBODY, AGENT, DEMONSTRATOR = 0, 1, 2
"""Who took the action of a slot."""
SEGMENT = 1024
"""Slots that are saved together: about 7 MB with pictures of 84 x 84."""


class ReplayMemoryError(MemoryError):
    """The replay would not fit into memory; the message has the figures."""


@dataclass(frozen=True)
class Sample:
    """B transitions; see :class:`av_td3.agent.td3.Batch`."""

    image: Pictures  # (B, K, H, W)
    vector: NDArray[np.float32]  # (B, V)
    action: NDArray[np.float32]  # (B, A)
    reward: NDArray[np.float32]  # (B,)
    discount: NDArray[np.float32]  # (B,)
    next_image: Pictures
    next_vector: NDArray[np.float32]
    demonstrated: NDArray[np.bool_]  # (B,) whether a demonstrator took the action
    index: NDArray[np.int64]  # (B,) slots the transitions start at


def slot_bytes(image_shape: tuple[int, int, int], vector_size: int, action_size: int) -> int:
    """Memory of one slot: frame, vector, action, reward, terminated, driver and age."""
    _, height, width = image_shape
    return height * width + 4 * vector_size + 4 * action_size + 4 + 1 + 1 + 4


class Replay:
    """``capacity`` slots in ``envs`` interleaved rings, one for each environment."""

    def __init__(
        self,
        capacity: int,
        image_shape: tuple[int, int, int],
        vector_size: int,
        action_size: int,
        gamma: float,
        n_step: int = 1,
        envs: int = 1,
    ) -> None:
        """``image_shape`` is that of the stack, (frames, height, width).

        ``capacity`` is shared by the environments in equal parts; what remains is left out.

        Raises:
            ReplayMemoryError: the arrays would take more than the memory that is available.
        """
        stack, height, width = image_shape
        ring = capacity // envs
        if ring < stack + n_step + 2:
            raise ValueError(
                f"capacity {capacity} cannot hold a stack of {stack} and {n_step} steps"
                + (f" of each of {envs} environments" if envs > 1 else "")
            )
        capacity = ring * envs
        self.capacity, self.stack, self.gamma, self.n_step = capacity, stack, gamma, n_step
        self.envs = envs
        self.bytes_per_slot = slot_bytes(image_shape, vector_size, action_size)
        _refuse_if_too_large(capacity * self.bytes_per_slot)
        # Anonymous zero pages: memory is taken as the ring fills.
        self.frame = np.zeros((capacity, height, width), np.uint8)
        self.vector = np.zeros((capacity, vector_size), np.float32)
        self.action = np.zeros((capacity, action_size), np.float32)
        self.reward = np.zeros(capacity, np.float32)
        self.terminated = np.zeros(capacity, np.bool_)
        self.driver = np.full(capacity, NOBODY, np.uint8)
        self.age = np.zeros(capacity, np.int32)
        self.revisions = np.zeros(-(-capacity // SEGMENT), np.int64)
        """How often each segment of slots was written to: an equal number means equal content."""
        # For each environment, counted in slots of its own ring:
        self._head = np.zeros(envs, np.int64)  # where the next slot is written
        self._size = np.zeros(envs, np.int64)
        self._open = np.zeros(envs, np.bool_)  # the newest slot is an observation that waits for its action

    def __len__(self) -> int:
        """Slots in use."""
        return int(self._size.sum())

    @property
    def used(self) -> int:
        """No slot from here on is in use; before it all are, but for environments that made fewer steps."""
        return self.envs * int(self._size.max())

    @property
    def transitions(self) -> int:
        """Transitions in the rings (slots less the ends of episodes)."""
        return int(np.count_nonzero(self.has_action))

    @property
    def has_action(self) -> NDArray[np.bool_]:
        """(capacity,) in which slots an action was taken."""
        return self.driver != NOBODY

    # ------------------------------------------------------------------ writing

    def begin(self, observation: Observation, env: int = 0) -> None:
        """Start an episode of an environment.  Its stack must be the first frame repeated."""
        self._push(observation, 0, env)
        self._open[env] = True

    def add(
        self,
        action: NDArray[np.float32],
        reward: float,
        terminated: bool,
        truncated: bool,
        next_observation: Observation,
        demonstrated: bool = False,
        env: int = 0,
    ) -> None:
        """Store what happened after the environment's newest observation.

        ``demonstrated``: the action was a demonstrator's, not the agent's.

        ``terminated`` stops the bootstrap; ``truncated`` ends the episode here but the value
        of ``next_observation`` still counts (Pardo et al. 2018).
        """
        if not self._open[env]:
            raise RuntimeError("add() before begin(): no observation waits for an action")
        slot = self._slot(env, -1)
        self.action[slot] = action
        self.reward[slot] = reward
        self.terminated[slot] = terminated
        self.revisions[slot // SEGMENT] += 1
        age = int(self.age[slot]) + 1
        # The next observation first: pushing may overwrite the oldest slot, never this one.
        self._push(next_observation, age, env)
        self.driver[slot] = DEMONSTRATOR if demonstrated else AGENT
        self._open[env] = not (terminated or truncated)

    def break_off(self, env: int | None = None) -> None:
        """The episode ended without an outcome (simulator fault): keep what is known, add nothing.

        ``env``: of which environment; None: of all.
        """
        self._open[slice(None) if env is None else env] = False

    def _slot(self, env: int, offset: int = 0) -> int:
        """The slot so many steps from the one that the environment writes next."""
        return int((self._head[env] + offset) * self.envs + env) % self.capacity

    def _push(self, observation: Observation, age: int, env: int) -> None:
        slot = self._slot(env)
        self.frame[slot] = observation["image"][-1]
        self.vector[slot] = observation["vector"]
        self.driver[slot] = NOBODY
        self.terminated[slot] = False
        self.reward[slot] = 0.0
        self.age[slot] = age
        self.revisions[slot // SEGMENT] += 1
        ring = self.capacity // self.envs
        self._head[env] = (self._head[env] + 1) % ring
        self._size[env] = min(self._size[env] + 1, ring)

    # ------------------------------------------------------------------ reading

    def valid(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which slots a transition can be read at: an action was taken and the stack is whole.

        Near a ring's seam the frames before a slot may have been overwritten.
        """
        number, env = np.divmod(slots, self.envs)
        since_oldest = (number - (self._head - self._size)[env]) % (self.capacity // self.envs)
        whole = since_oldest >= np.minimum(self.age[slots], self.stack - 1)
        return (self.driver[slots] != NOBODY) & whole

    def can_sample(self) -> bool:
        """Whether at least one transition can be read."""
        # A window at the newest end is enough: only slots at the oldest end can be cut off.
        back = np.arange(-1, -1 - (self.stack + 2), -1)
        envs = np.arange(self.envs)
        newest = ((self._head[:, None] + back) * self.envs + envs[:, None]) % self.capacity
        return bool(self.valid(newest[back >= -self._size[:, None]]).any())

    def sample(self, batch: int, rng: np.random.Generator) -> Sample:
        """``batch`` transitions, uniformly with replacement.

        Raises:
            RuntimeError: there is no transition yet.
        """
        if not self.can_sample():
            raise RuntimeError("the replay holds no transition yet")
        index = rng.integers(0, self.used, batch)
        while len(bad := np.flatnonzero(~self.valid(index))):
            index[bad] = rng.integers(0, self.used, len(bad))
        return self.at(index)

    def at(self, index: NDArray[np.int64]) -> Sample:
        """The transitions that start at these (valid) slots, n steps long or to the episode's end."""
        reward = self.reward[index].copy()
        discount = np.full(len(index), self.gamma, np.float32)
        last = index.copy()
        for _ in range(1, self.n_step):
            following = (last + self.envs) % self.capacity
            go_on = (self.driver[following] != NOBODY) & ~self.terminated[last]
            last = np.where(go_on, following, last)
            reward += np.where(go_on, discount * self.reward[last], 0.0).astype(np.float32)
            discount = np.where(go_on, discount * np.float32(self.gamma), discount)
        after = (last + self.envs) % self.capacity
        return Sample(
            image=self._stacks(index),
            vector=self.vector[index],
            action=self.action[index],
            reward=reward,
            discount=np.where(self.terminated[last], np.float32(0.0), discount),
            next_image=self._stacks(after),
            next_vector=self.vector[after],
            demonstrated=self.driver[index] == DEMONSTRATOR,
            index=index,
        )

    def _slots_of_stacks(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B, K): where the frames of each stack lie."""
        back = np.arange(self.stack - 1, -1, -1)
        offset = np.minimum(back[None, :], self.age[index][:, None])
        slots: NDArray[np.int64] = (index[:, None] - self.envs * offset) % self.capacity
        return slots

    def _stacks(self, index: NDArray[np.int64]) -> Pictures:
        """(B, K, H, W): frames index-K+1 .. index, the episode's first one repeated before its start.

        In memory the K values of a pixel lie side by side (channels last), as convolutions want them.
        """
        slots = self._slots_of_stacks(index)
        _, height, width = self.frame.shape
        if not height * width:  # a task without pictures
            return np.empty((len(index), self.stack, height, width), np.uint8)
        planes = [self.frame[slots[:, k]].reshape(-1, width) for k in range(self.stack)]
        # OpenCV interleaves ten times as fast as numpy or torch.
        stacks = np.asarray(cv2.merge(planes), np.uint8).reshape(len(index), height, width, self.stack)
        return stacks.transpose(0, 3, 1, 2)

    # ------------------------------------------------------------------ saving

    @property
    def cursor(self) -> list[int]:
        """Where the rings stand: heads, slots in use, whether an observation waits; then the capacity."""
        return [int(value) for value in (*self._head, *self._size, *self._open, self.capacity)]

    @property
    def segments(self) -> int:
        """How many segments have slots in use."""
        return -(-self.used // SEGMENT)

    def segment(self, number: int) -> dict[str, NDArray[Any]]:
        """Views of the used slots of a segment, by name; nothing is copied."""
        used = slice(number * SEGMENT, min((number + 1) * SEGMENT, self.used))
        return {name: getattr(self, name)[used] for name in _ARRAYS}

    def restore_segment(self, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a saved segment.

        Raises:
            ValueError: it was saved with other shapes.
        """
        start = number * SEGMENT
        size = len(arrays["age"])
        for name in _ARRAYS:
            mine, saved = getattr(self, name), arrays[name]
            if saved.shape != (size, *mine.shape[1:]) or saved.dtype != mine.dtype:
                raise ValueError(f"the saved replay's {name!r} is {saved.dtype}{list(saved.shape)}")
        if start + size > self.capacity:
            raise ValueError(f"the saved replay is larger than the configured {self.capacity} slots")
        for name in _ARRAYS:
            getattr(self, name)[start : start + size] = arrays[name]
        self.revisions[number] += 1

    def restore_cursor(self, cursor: Sequence[int]) -> None:
        """Take over :attr:`cursor`.

        Raises:
            ValueError: the replay was saved with another capacity, or of other environments.
        """
        *rings, capacity = cursor
        if capacity != self.capacity:
            raise ValueError(f"the saved replay has capacity {capacity}, the configured one {self.capacity}")
        if len(rings) != 3 * self.envs:
            raise ValueError(f"the saved replay is of {len(rings) // 3} environments, not {self.envs}")
        head, size, is_open = np.array(rings, np.int64).reshape(3, self.envs)
        self._head, self._size, self._open = head, size, is_open.astype(bool)


_ARRAYS = ("frame", "vector", "action", "reward", "terminated", "driver", "age")


def _refuse_if_too_large(needed: int) -> None:
    import psutil

    available = psutil.virtual_memory().available
    if needed > available:
        raise ReplayMemoryError(
            f"the replay needs {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are available: "
            "lower replay.capacity"
        )
