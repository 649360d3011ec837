"""Evaluations as Stable-Baselines3's ``EvalCallback`` saves them: ``evaluations.npz``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..store import BUDGET, Store
from .source import ReadError, Source

_LARGEST = 1 << 28
"""Bytes that the arrays may need unpacked."""


def read_evaluations(path: Path, budget: int = BUDGET) -> Source:
    """Read ``timesteps`` (n,), ``results`` (n, episodes), ``ep_lengths`` and ``successes`` where present.

    Nothing in the file is executed: pickled objects are refused.

    Raises:
        ReadError: it is no such file.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > _LARGEST:
                raise ReadError("its arrays are larger than any evaluation's")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name], np.float64) for name in _WANTED if name in arrays.files}
            steps = np.asarray(arrays["timesteps"], np.int64).reshape(-1)
    except KeyError:
        raise ReadError("it holds no array 'timesteps', as evaluations of Stable-Baselines3 do") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise ReadError(f"not a file of evaluations: {error}") from None
    store = Store(budget)
    for name, tag in _WANTED.items():
        values = found.get(name)
        if values is None or not values.size or len(values) != len(steps):
            continue
        means: npt.NDArray[np.float64] = values.reshape(len(steps), -1).mean(axis=1)
        store.append(tag, steps, np.full(len(steps), np.nan), means)
    if not store.series:
        raise ReadError("it holds no array 'results' with one row for each of 'timesteps'")
    return Source(path, "npz", store, "step")


_WANTED = {
    "results": "eval/mean_reward",
    "ep_lengths": "eval/mean_ep_length",
    "successes": "eval/success_rate",
}
"""Array -> the tag under which the same callback logs its mean."""
