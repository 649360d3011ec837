"""Policies: what drives, and nothing else, in one file of a few MB.

    policies/
      step_000010000.safetensors    as it was at each evaluation
      best.safetensors              the best of these
      last.safetensors              as of the newest checkpoint

A full checkpoint is needed to train further, and only a few of them are kept.  A policy is enough to
drive, and all that were evaluated are kept.  Which policy a file holds is what the run evaluates: with
``evaluation.averaged`` the moving average.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from av_td3.agent.td3 import TD3
from av_td3.training import tensor_files
from av_td3.training.tensor_files import CheckpointError, Frozen

LAST = "last.safetensors"
BEST = "best.safetensors"
_PREFIX = "step_"


def folder_of(checkpoints: Path) -> Path:
    """Where a run whose checkpoints lie there keeps its policies."""
    return checkpoints.parent / "policies"


def freeze(agent: TD3, averaged: bool = False) -> dict[str, Frozen]:
    """A copy of the policy's parameters; ``averaged``: of the target policy's."""
    return tensor_files.freeze(_tensors(agent, averaged))


def write(
    path: Path,
    step: int,
    updates: int,
    policy: Mapping[str, Frozen],
    figures: Mapping[str, float] | None = None,
) -> None:
    """Write a policy, whole or not at all.

    Args:
        path: of the file.
        step, updates: environment steps and updates that it was trained for.
        figures: what its evaluation gave.

    Raises:
        OSError: the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "step": str(step),
        "updates": str(updates),
        "sha256": tensor_files.digest(policy),
        "evaluation": json.dumps(dict(figures or {})),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        tensor_files.write(temporary, policy, metadata)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def keep(
    folder: Path,
    step: int,
    updates: int,
    policy: Mapping[str, Frozen],
    figures: Mapping[str, float],
    best: bool,
) -> None:
    """Keep a policy that was evaluated; ``best``: it is the best so far.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    file = folder / f"{_PREFIX}{step:09d}.safetensors"
    try:
        write(file, step, updates, policy, figures)
        if best:
            _copy(file, folder / BEST)
    except OSError as error:
        raise CheckpointError(f"could not keep the policy of step {step} in {folder}: {error}") from None


def describe(path: Path) -> dict[str, Any]:
    """``step``, ``updates``, ``evaluation`` and ``files`` of a policy, whose values have been checked.

    Raises:
        CheckpointError: it is damaged, or no policy.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        step, updates = int(metadata["step"]), int(metadata["updates"])
        evaluation = json.loads(metadata["evaluation"])
        whole = tensor_files.digest(tensor_files.freeze(arrays)) == metadata["sha256"]
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable policy: {error}") from None
    if not whole:
        raise CheckpointError(f"{path} is damaged (its hash differs)")
    return {
        "step": step,
        "updates": updates,
        "evaluation": evaluation,
        "files": {"agent.safetensors": metadata["sha256"]},
    }


def load(path: Path, agent: TD3) -> None:
    """Put a policy into an agent of the same configuration, also as its average; the critic stays as it is.

    Raises:
        CheckpointError: it is of another architecture.
    """
    with safetensors.safe_open(path, framework="pt", device=str(agent.device)) as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    for averaged in (False, True):
        tensor_files.fill(_tensors(agent, averaged), saved, path)


def drop_later(folder: Path, step: int, best: int | None) -> None:
    """A run goes on from ``step``: forget the policies beyond it.

    Args:
        folder: where the run keeps its policies.
        best: step of the best evaluation that still counts; None when there is none.
    """
    for file in folder.glob(f"{_PREFIX}*.safetensors"):
        if int(file.stem.removeprefix(_PREFIX)) > step:
            file.unlink(missing_ok=True)
    for name, wanted in ((LAST, step), (BEST, best)):
        file = folder / name
        if not file.exists():
            continue
        with contextlib.suppress(CheckpointError):
            if describe(file)["step"] == wanted:
                continue
        kept = folder / f"{_PREFIX}{wanted or 0:09d}.safetensors"
        file.unlink()
        if kept.exists():
            _copy(kept, file)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _tensors(agent: TD3, averaged: bool) -> dict[str, torch.Tensor]:
    parts = (
        {"encoder": agent.target_actor_encoder, "head": agent.target_actor}
        if averaged
        else {"encoder": agent.actor_encoder, "head": agent.actor}
    )
    return {
        f"{name}/{key}": tensor for name, part in parts.items() for key, tensor in part.state_dict().items()
    }
