"""Checkpoints: everything a run needs to go on, written whole or not at all.

A checkpoint is a folder of safetensors and one JSON file; loading executes nothing.  It is
written under a temporary name, flushed to the disk, and renamed.  The SHA-256 of each file is in
``state.json``: damage is noticed, and the checkpoint before is used instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from av_td3.agent.replay import Replay
from av_td3.agent.td3 import TD3

FORMAT = 1
BEST = "best"
"""Name of the checkpoint with the best evaluation so far; never pruned."""
_PREFIX = "step_"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message says what to do."""


def save(
    folder: Path,
    step: int,
    agent: TD3,
    replay: Replay | None,
    state: Mapping[str, Any],
    name: str | None = None,
) -> Path:
    """Write a checkpoint atomically.

    Args:
        folder: where the run keeps its checkpoints.
        step: environment steps so far; it names the checkpoint unless ``name`` does.
        replay: None leaves it out.
        state: what else a run must know to go on; JSON-able.
        name: of a checkpoint that is not one of the run's row, such as :data:`BEST`.

    Raises:
        CheckpointError: the disk is full or not writable.  Nothing half-written remains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / (name or f"{_PREFIX}{step:09d}")
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        arrays: dict[str, Mapping[str, Any]] = {
            "agent.safetensors": agent_tensors(agent),
            "optimizers.safetensors": _optimizer_tensors(agent),
        }
        for name, tensors in arrays.items():
            # channels_last is a memory layout, not a value: files hold plain contiguous tensors.
            plain = {key: tensor.contiguous() for key, tensor in tensors.items()}
            safetensors.torch.save_file(plain, temporary / name)
        if replay is not None:
            safetensors.numpy.save_file(
                {k: np.ascontiguousarray(v) for k, v in replay.state().items()},
                temporary / "replay.safetensors",
            )
        files = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        document = {"format": FORMAT, "step": step, "updates": agent.updates, "files": files, **state}
        (temporary / "state.json").write_text(json.dumps(document, indent=1, allow_nan=False))
        for path in temporary.iterdir():
            _flush(path)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        _flush(folder)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"could not write the checkpoint of step {step} in {folder}: {error}; "
            "free some space and go on with --resume"
        ) from None
    return final


def available(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name.startswith(_PREFIX)), reverse=True)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep``."""
    for path in available(folder)[keep:]:
        shutil.rmtree(path, ignore_errors=True)


def verify(path: Path) -> dict[str, Any]:
    """Check every file against its hash and return ``state.json``.

    Raises:
        CheckpointError: missing, damaged, or of another format.
    """
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text())
        if state["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {state['format']}; this version reads {FORMAT}")
        for name, expected in state["files"].items():
            if _sha256(path / name) != expected:
                raise CheckpointError(f"{path / name} is damaged (its hash differs)")
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from None
    return state


def newest_good(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest checkpoint that is whole, its state, and what was wrong with newer ones.

    Raises:
        CheckpointError: there is none.
    """
    problems: list[str] = []
    for path in available(folder):
        try:
            return path, verify(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    detail = f" ({'; '.join(problems)})" if problems else ""
    raise CheckpointError(f"no usable checkpoint in {folder}{detail}")


def find(folder: Path, which: str | None) -> tuple[Path, dict[str, Any], list[str]]:
    """A checkpoint to evaluate, its state, and what was wrong with newer ones that were skipped.

    Args:
        folder: where the run keeps its checkpoints.
        which: None for the newest whole one, ``best``, a step, or the path of a checkpoint.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged; the message lists what there is.
    """
    if which is None:
        return newest_good(folder)
    named = folder / (f"{_PREFIX}{int(which):09d}" if which.isdecimal() else which)
    path = named if named.is_dir() else Path(which)
    if not path.is_dir():
        names = [p.name for p in available(folder)] + [BEST] * (folder / BEST).is_dir()
        there = ", ".join(names) or "none"
        raise CheckpointError(f"there is no checkpoint {which!r}; {folder} holds {there}")
    return path, verify(path), []


def load_agent(path: Path, agent: TD3, optimizers: bool = True) -> None:
    """Fill an agent of the same configuration from a verified checkpoint.

    Raises:
        CheckpointError: the weights are of another architecture.
    """
    tensors = safetensors.torch.load_file(path / "agent.safetensors", device=str(agent.device))
    expected = agent_tensors(agent)
    if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in expected.items()}:
        raise CheckpointError(f"{path} holds another architecture than this configuration describes")
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(tensors[name])
    if optimizers:
        saved = safetensors.torch.load_file(path / "optimizers.safetensors", device=str(agent.device))
        for which, optimizer in agent.optimizers().items():
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            optimizer.state.clear()
            for name, tensor in saved.items():
                owner, index, key = name.split("/")
                if owner != which:
                    continue
                parameter = parameters[int(index)]
                if tensor.shape == parameter.shape:  # moments lie in memory as their parameter does
                    tensor = torch.empty_like(parameter.detach()).copy_(tensor)
                optimizer.state[parameter][key] = tensor
        agent.updates = int(json.loads((path / "state.json").read_text())["updates"])


def load_replay(path: Path, replay: Replay) -> bool:
    """Fill the replay; False when the checkpoint was written without one.

    Raises:
        CheckpointError: it does not fit the configuration.
    """
    file = path / "replay.safetensors"
    if not file.exists():
        return False
    try:
        replay.restore(safetensors.numpy.load_file(file))
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from None
    return True


def agent_tensors(agent: TD3) -> dict[str, torch.Tensor]:
    """Every parameter of every network as ``network/parameter``."""
    return {
        f"{name}/{key}": tensor
        for name, network in agent.networks().items()
        for key, tensor in network.state_dict().items()
    }


def torch_rng_state() -> dict[str, str]:
    """torch's generators as hexadecimal text."""
    state = {"cpu": bytes(torch.get_rng_state().tolist()).hex()}
    if torch.cuda.is_available():
        state["cuda"] = bytes(torch.cuda.get_rng_state().tolist()).hex()
    return state


def restore_torch_rng(state: Mapping[str, str]) -> None:
    """Put torch's generators into a saved state."""
    torch.set_rng_state(torch.tensor(list(bytes.fromhex(state["cpu"])), dtype=torch.uint8))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.tensor(list(bytes.fromhex(state["cuda"])), dtype=torch.uint8))


def _optimizer_tensors(agent: TD3) -> dict[str, torch.Tensor]:
    return {
        f"{which}/{index}/{key}": tensor
        for which, optimizer in agent.optimizers().items()
        for index, entries in optimizer.state_dict()["state"].items()
        for key, tensor in entries.items()
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """A numpy generator's state, JSON-able (PCG64: two big integers)."""
    state: dict[str, Any] = json.loads(json.dumps(rng.bit_generator.state))
    return state


def restore_generator(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Put a numpy generator into a saved state."""
    rng.bit_generator.state = dict(state)
