"""A curve that ``numpy.save`` wrote: one number for each evaluation or episode, without names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..store import BUDGET, Store
from .filenames import tag_of_file
from .source import ReadError, Source

_LARGEST = 1 << 28
_MOST_COLUMNS = 64
_EVALUATIONS = re.compile(r"(our)?(td3|ddpg|sac|td3_bc|bc|bcq|ppo)[_-].+-v\d+[_-]\d+", re.I)
"""Names that the code of TD3's authors gives: ``TD3_HalfCheetah-v2_0.npy``."""


def _curve(path: Path) -> np.ndarray:
    if path.stat().st_size > _LARGEST:
        raise ReadError("the array is larger than any curve")
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        if "pickle" in str(error).lower():
            raise ReadError(
                "it holds Python objects, and reading them could run code; save plain numbers instead: "
                "numpy.save(file, numpy.array(values, float))"
            ) from None
        raise ReadError(f"not an array of numpy: {error}") from None
    if not isinstance(array, np.ndarray) or not (
        np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_
    ):
        raise ReadError("its array does not hold plain numbers")
    if np.iscomplexobj(array) or array.ndim not in (1, 2) or not array.size:
        raise ReadError(f"an array of shape {array.shape} is no curve; one number a row is")
    if array.ndim == 2 and array.shape[1] > _MOST_COLUMNS:
        raise ReadError(f"an array of shape {array.shape} is no curve; at most {_MOST_COLUMNS} columns are")
    return np.asarray(array, np.float64)


def looks_like_curve(path: Path) -> bool:
    """Whether a file in a folder may be a curve: a short column of floats, not a buffer of observations."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError, OSError):
        return False
    return isinstance(array, np.ndarray) and array.ndim == 1 and 2 <= len(array) <= 1_000_000


def read_array(path: Path, budget: int = BUDGET) -> Source:
    """Read an array of shape (n,), or (n, columns), of which one may count steps.

    Nothing in the file is executed: pickled objects are refused.

    Raises:
        ReadError: it is no such array.
        OSError: the file cannot be read.
    """
    array = _curve(path)
    store = Store(budget)
    name = tag_of_file(path)
    rows = len(array)
    steps, kind, notes = np.arange(rows), "row", []
    columns = {name: array}
    if array.ndim == 2:
        parts = list(array.T)
        counting = next((k for k, c in enumerate(parts) if rows > 2 and _counts(c)), None)
        if counting is not None:
            steps, kind = parts[counting].astype(np.int64), "step"
        rest = [k for k in range(len(parts)) if k != counting]
        columns = {name if len(rest) == 1 else f"column {k + 1}": parts[k] for k in rest}
    elif _EVALUATIONS.fullmatch(name):
        columns = {"eval/mean_reward": array}
        notes.append(f"{path.name}: taken for evaluations, as the code of TD3's authors saves them")
    if kind == "row":
        notes.append(f"{path.name}: an array without steps; values are placed by their number")
    for tag, values in columns.items():
        store.append(tag, steps, np.full(rows, np.nan), values)
    return Source(path, "npy", store, kind, notes=notes)


def _counts(values: np.ndarray) -> bool:
    """Whether a column counts: whole numbers, each larger than the one before."""
    whole = np.isfinite(values).all() and (values == np.round(values)).all()
    return bool(whole and (np.diff(values) > 0).all() and values[0] >= 0)
