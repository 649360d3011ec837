"""Does an agent look at its pictures?  It drives with others in their place, and is compared with itself.

An agent that drives as well with black pictures, or with pictures that show something else, does not use
its camera: what it knows comes from the vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from av_td3.config import Pictures
from av_td3.evaluation.rollout import Action, Observation, Policy


class ReplacedPictures:
    """A policy that is given other pictures than its camera's.

    Args:
        policy: as :func:`av_td3.evaluation.rollout.evaluate` takes it.
        kind: which pictures.  For ``other``, drive one episode first that is not scored: the pictures of
            the first episode are black otherwise.
    """

    def __init__(self, policy: Policy, kind: Pictures) -> None:
        self._policy, self._kind = policy, kind
        self._seen: list[NDArray[Any]] = []
        self._other: list[NDArray[Any]] = []
        self._step = 0
        self._rng = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """Begin an episode; the same seed gives the same order."""
        if self._seen:
            self._other = self._seen
        self._seen, self._step = [], 0
        self._rng = np.random.default_rng([seed, 3])
        reset = getattr(self._policy, "reset", None)
        if reset is not None:
            reset(seed)

    def watch(self, info: Mapping[str, Any]) -> None:
        """``info`` of a reset or a step."""
        watch = getattr(self._policy, "watch", None)
        if watch is not None:
            watch(info)

    def __call__(self, observation: Observation) -> Action:
        image = self._replacement(np.asarray(observation["image"]))
        return self._policy({**observation, "image": image})

    def _replacement(self, image: NDArray[Any]) -> NDArray[Any]:
        # The environment may use one array for every observation, so what is kept is a copy.
        if self._kind in ("shuffled", "other") or not self._seen:
            self._seen.append(image.copy())
        step, self._step = self._step, self._step + 1
        if self._kind == "camera":
            return image
        if self._kind == "frozen":
            return self._seen[0]
        if self._kind == "shuffled":
            return self._seen[int(self._rng.integers(len(self._seen)))]
        if self._kind == "other" and self._other:
            return self._other[step % len(self._other)]
        return np.zeros_like(image)
