"""Writing safetensors files without holding the interpreter: training goes on beside it.

``safetensors`` itself first copies every tensor into a ``bytes`` object, and holds Python's lock
meanwhile.  Writing and hashing plain memory lets other threads run.  Files are read with the library.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


class CheckpointError(RuntimeError):
    """A checkpoint or a policy cannot be written or read; the message says what to do."""


class Frozen(NamedTuple):
    """A copy of an array or tensor that nobody changes any more."""

    dtype: str
    """As safetensors calls it."""
    shape: tuple[int, ...]
    data: memoryview
    """The values as bytes."""


def freeze(arrays: Mapping[str, NDArray[Any] | torch.Tensor]) -> dict[str, Frozen]:
    """Copy arrays or tensors into plain contiguous memory.

    channels_last is a memory layout, not a value: files hold plain contiguous tensors.
    """
    return {name: _frozen(array) for name, array in arrays.items()}


def _frozen(array: NDArray[Any] | torch.Tensor) -> Frozen:
    if isinstance(array, torch.Tensor):
        plain = array.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        name = _NAMES[str(plain.dtype).removeprefix("torch.")]
        return Frozen(name, tuple(plain.shape), plain.reshape(-1).view(torch.uint8).numpy().data)
    copied = np.array(array, order="C", copy=True)
    return Frozen(_NAMES[copied.dtype.name], copied.shape, copied.reshape(-1).view(np.uint8).data)


def digest(arrays: Mapping[str, Frozen]) -> str:
    """SHA-256 of names, types, shapes and values."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(array.data)
    return found.hexdigest()


def write(path: Path, arrays: Mapping[str, Frozen], metadata: Mapping[str, str] | None = None) -> str:
    """Write a safetensors file, flush it to the disk, and return the SHA-256 of the whole file.

    Raises:
        OSError: the disk is full or not writable; the file may be there in part.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    # The library wants the widest types first, so that every array begins at a multiple of its width.
    order = sorted(arrays, key=lambda name: (-_width(arrays[name]), name))
    offset = 0
    for name in order:
        array = arrays[name]
        end = offset + len(array.data)
        header[name] = {"dtype": array.dtype, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    found = hashlib.sha256()
    with path.open("wb") as file:
        parts: list[bytes | memoryview] = [struct.pack("<Q", len(text)), text]
        parts += [arrays[name].data for name in order]
        for part in parts:
            file.write(part)
            found.update(part)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def fill(tensors: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy what was read from a file into an agent's tensors, all or none.

    Raises:
        CheckpointError: other names or shapes were read than the agent has.
    """
    if {name: t.shape for name, t in saved.items()} != {name: t.shape for name, t in tensors.items()}:
        raise CheckpointError(f"{path} holds another architecture than this configuration describes")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])


def sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def flush_folder(path: Path) -> None:
    """Make what was renamed within a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _width(array: Frozen) -> int:
    return len(array.data) // max(1, math.prod(array.shape))
