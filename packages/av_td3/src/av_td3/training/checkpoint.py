"""Checkpoints: everything a run needs to go on, written whole or not at all.

    checkpoints/
      step_000004000/       agent.safetensors, optimizers.safetensors, state.json
      step_000008000/
      replay/               00000-1f6c....safetensors, ...: what both have seen, in segments

A checkpoint is written beside the training: the learner only copies what has changed since the last
one.  The replay lies in segments of :data:`av_td3.agent.replay.SEGMENT` slots.  Segments that have not
changed are shared by checkpoints, and are removed when none refers to them.

Everything is written under a temporary name, flushed to the disk, and renamed.  ``state.json`` has the
SHA-256 of each file: damage is noticed, and the checkpoint before is used instead.  Loading executes
nothing: the files are safetensors and JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from av_td3.agent.replay import SEGMENT, Replay
from av_td3.agent.td3 import TD3
from av_td3.training import policies, tensor_files
from av_td3.training.tensor_files import CheckpointError as CheckpointError
from av_td3.training.tensor_files import Frozen

FORMAT = 2
_PREFIX = "step_"
_ASIDE = "unusable_"
"""Put before the name of a checkpoint that counts no more."""
_REPLAY = "replay"
_AGENT, _OPTIMIZERS = "agent.safetensors", "optimizers.safetensors"
NEW_REPLAY = "`train --resume RUN --new-replay`"
"""The command that goes on with the networks of a checkpoint whose replay is damaged."""
_REPLAY_OF_FORMAT_1 = "replay.safetensors"
COPY_AT_MOST = 1 << 30
"""Bytes of the replay that are copied at once.  More is written while the training waits: after a
disk was full for long, or when a run goes on whose checkpoints are of an earlier version."""

_Replay = dict[str, Any]
_Written = TypeVar("_Written")
"""``state.json``: where the ring stands, and the SHA-256 of each segment's file."""


class DamagedReplayError(CheckpointError):
    """The replay of a checkpoint is damaged, and the rest of it is whole."""


class _Segment(NamedTuple):
    """A segment of the replay as it lies on the disk."""

    revision: int
    file: str
    sha256: str


class CheckpointWriter:
    """Writes the checkpoints of a run, one at a time, in a thread of its own.

    Args:
        folder: where the run keeps its checkpoints.
        keep: how many of the newest stay.
        averaged: the run evaluates the average of its policies, so that is what ``last`` is.
    """

    def __init__(self, folder: Path, keep: int, averaged: bool = False) -> None:
        self._folder, self._keep, self._averaged = folder, keep, averaged
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[Path] | None = None
        self._on_disk: dict[int, _Segment] = {}
        """Segments of the replay, by number."""

    def begin(self, step: int, agent: TD3, replay: Replay | None, state: Mapping[str, Any]) -> None:
        """Copy what a checkpoint of this moment needs, and start to write it.

        The checkpoint before must have ended: see :meth:`outcome`.

        Args:
            step: environment steps so far; it names the checkpoint.
            replay: None leaves it out.
            state: what else a run must know to go on; JSON-able.

        Raises:
            CheckpointError: the disk is full or not writable (only where much has to be written at once).
        """
        assert self._pending is None, "outcome(wait=True) comes first"
        files = {
            _AGENT: tensor_files.freeze(agent_tensors(agent)),
            _OPTIMIZERS: tensor_files.freeze(_optimizer_tensors(agent)),
        }
        document = {"format": FORMAT, "step": step, "updates": agent.updates, **state}
        text = json.dumps(document, allow_nan=False)  # here: what it holds goes on changing
        changed: dict[int, tuple[int, dict[str, Frozen]]] = {}
        cursor: list[int] | None = None
        if replay is not None:
            cursor = replay.cursor
            copied = 0
            for number in range(replay.segments):
                revision = int(replay.revisions[number])
                known = self._on_disk.get(number)
                if known is not None and known.revision == revision:
                    continue
                frozen = tensor_files.freeze(replay.segment(number))
                copied += sum(len(array.data) for array in frozen.values())
                if copied > COPY_AT_MOST:
                    self._guarded(step, partial(self._write_segment, number, revision, frozen))
                    copied = 0
                else:
                    changed[number] = revision, frozen
            self._on_disk = {n: s for n, s in self._on_disk.items() if n < replay.segments}
        policy = policies.freeze(agent, self._averaged)

        def write() -> Path:
            return self._guarded(step, lambda: self._write(step, text, files, cursor, changed, policy))

        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending = self._thread.submit(write)

    def outcome(self, wait: bool = False) -> Path | None:
        """The checkpoint that was being written, once it is whole; None while it is not, and when taken.

        Raises:
            CheckpointError: it could not be written: the disk is full or not writable.  Nothing
                half-written remains, and the older checkpoints stay.
        """
        if self._pending is None or not (wait or self._pending.done()):
            return None
        pending, self._pending = self._pending, None
        return pending.result()

    def close(self) -> None:
        """Wait for what is being written."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def adopt(self, path: Path, replay: Replay) -> None:
        """The replay was filled from this checkpoint: its segments need not be written again."""
        saved = _segments(_read_state(path))
        self._on_disk = {
            number: _Segment(int(replay.revisions[number]), file, sha)
            for number, (file, sha) in enumerate(saved.items())
        }

    def _guarded(self, step: int, write: Callable[[], _Written]) -> _Written:
        try:
            return write()
        except OSError as error:
            shutil.rmtree(self._folder / f".{_name(step)}.tmp", ignore_errors=True)
            raise CheckpointError(
                f"could not write the checkpoint of step {step} in {self._folder}: {error}"
            ) from None

    def _write(
        self,
        step: int,
        text: str,
        files: Mapping[str, Mapping[str, Frozen]],
        cursor: list[int] | None,
        changed: Mapping[int, tuple[int, Mapping[str, Frozen]]],
        policy: Mapping[str, Frozen],
    ) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._folder / _name(step)
        temporary = self._folder / f".{final.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        document = json.loads(text)
        for number, (revision, arrays) in changed.items():
            self._write_segment(number, revision, arrays)
        document["files"] = {
            name: tensor_files.write(temporary / name, arrays) for name, arrays in files.items()
        }
        if cursor is not None:
            segments = [self._on_disk[number] for number in sorted(self._on_disk)]
            document["replay"] = {
                "cursor": cursor,
                "segment": SEGMENT,
                "files": {segment.file: segment.sha256 for segment in segments},
            }
        with (temporary / "state.json").open("w") as file:
            json.dump(document, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        policies.write(policies.folder_of(self._folder) / policies.LAST, step, document["updates"], policy)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        tensor_files.flush_folder(self._folder)
        prune(self._folder, self._keep)
        return final

    def _write_segment(self, number: int, revision: int, arrays: Mapping[str, Frozen]) -> None:
        folder = self._folder / _REPLAY
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".segment.tmp"
        try:
            sha = tensor_files.write(temporary, arrays)
            file = f"{number:05d}-{sha[:16]}.safetensors"
            os.replace(temporary, folder / file)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self._on_disk[number] = _Segment(revision, file, sha)


def available(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name.startswith(_PREFIX)), reverse=True)


def set_later_aside(folder: Path, step: int) -> list[str]:
    """A run goes on from the checkpoint of ``step``: rename those after it, none of which could be used.

    They would count among the newest, which are kept, and whole ones would be deleted in their place.
    Renamed they still show what damaged them.

    Returns:
        A line for the user on each.

    Raises:
        OSError: one cannot be renamed.
    """
    notes = []
    for path in available(folder):
        if path.name > _name(step):
            aside = path.with_name(_ASIDE + path.name)
            if aside.exists():
                shutil.rmtree(aside)
            path.rename(aside)
            notes.append(f"{path.name} was renamed to {aside.name}, and counts no more")
    return notes


def prune(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the newest ``keep``, and the segments that no checkpoint refers to."""
    for path in available(folder)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    needed: set[str] = set()
    for path in available(folder):
        try:
            needed.update(_segments(_read_state(path)))
        except CheckpointError:
            return  # it may refer to any
    for file in (folder / _REPLAY).glob("*.safetensors"):
        if file.name not in needed:
            file.unlink(missing_ok=True)


def verify(path: Path, replay: bool = True) -> dict[str, Any]:
    """Check every file against its hash and return ``state.json``.

    Args:
        path: a checkpoint.
        replay: also check its replay, which may take seconds.

    Raises:
        DamagedReplayError: the replay is damaged, and nothing else is.
        CheckpointError: missing, damaged, or of another format.
    """
    state = _read_state(path)
    files = {path / name: expected for name, expected in state["files"].items()}
    whole_replay = files.pop(path / _REPLAY_OF_FORMAT_1, None)
    segments = {path.parent / _REPLAY / name: expected for name, expected in _segments(state).items()}
    if whole_replay is not None:
        segments[path / _REPLAY_OF_FORMAT_1] = whole_replay
    _check(path, files)
    if replay:
        try:
            _check(path, segments)
        except CheckpointError as error:
            raise DamagedReplayError(f"the replay of {path.name} is damaged: {error}") from None
    return state


def _check(path: Path, files: Mapping[Path, str]) -> None:
    """Check files of the checkpoint against their hashes.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    for file, expected in files.items():
        try:
            found = tensor_files.sha256(file)
        except OSError as error:
            raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from None
        if found != expected:
            raise CheckpointError(f"{file} is damaged (its hash differs)")


def describe(path: Path) -> dict[str, Any]:
    """``step``, ``updates`` and ``files`` of a checkpoint or of a policy's file, which must be whole.

    Raises:
        CheckpointError: missing, damaged, or of another format.
    """
    return policies.describe(path) if path.is_file() else verify(path, replay=False)


def _read_state(path: Path) -> dict[str, Any]:
    """``state.json``, whose shape has been checked."""
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text())
        if state["format"] not in (1, FORMAT):
            raise CheckpointError(
                f"{path} has format {state['format']}, and this version reads 1 and {FORMAT}: go on with the "
                "version that wrote it"
            )
        if not all(isinstance(state[key], dict) for key in ("files", _REPLAY) if key in state):
            raise TypeError("its list of files is none")
        state["files"], state["step"], state["updates"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from None
    return state


def _segments(state: Mapping[str, Any]) -> dict[str, str]:
    files: dict[str, str] = state.get(_REPLAY, {}).get("files", {})
    return files


def newest_good(folder: Path, replay: bool = True) -> tuple[Path, dict[str, Any], list[str]]:
    """The newest checkpoint that is whole, its state, and what was wrong with newer ones.

    Args:
        folder: where the run keeps its checkpoints.
        replay: its replay must be whole as well.

    Raises:
        CheckpointError: there is none.
    """
    problems: list[str] = []
    without_replay = ""
    for path in available(folder):
        try:
            return path, verify(path, replay), problems
        except CheckpointError as error:
            problems.append(str(error))
            if isinstance(error, DamagedReplayError):
                without_replay = without_replay or path.name
    detail = f" ({'; '.join(problems)})" if problems else ""
    hint = f". The rest of {without_replay} is whole: {NEW_REPLAY} goes on from it" if without_replay else ""
    raise CheckpointError(f"no usable checkpoint in {folder}{detail}{hint}")


def find(folder: Path, which: str | None) -> tuple[Path, dict[str, Any], list[str]]:
    """An agent to evaluate, its state, and what was wrong with newer ones that were skipped.

    Args:
        folder: where the run keeps its checkpoints.
        which: None for the newest whole checkpoint; ``best``, or a step, for the policy that was evaluated
            then; or the path of a checkpoint or of a policy's file.

    Raises:
        CheckpointError: there is no such agent, or it is damaged; the message lists what there is.
    """
    if which is None:
        return newest_good(folder, replay=False)
    kept = policies.folder_of(folder)
    name = f"{_PREFIX}{int(which):09d}" if which.isdecimal() else which
    # A step names the checkpoint before the policy.  Earlier versions kept the best agent as a checkpoint.
    places = [folder / name, kept / f"{name}.safetensors"]
    if not which.isdecimal():
        places.reverse()
    for path in (*places, Path(which)):
        if path.exists():
            return path, describe(path), []
    names = sorted({p.name for p in available(folder)} | {p.stem for p in kept.glob("*.safetensors")})
    there = f"{folder.parent} holds {', '.join(names) or 'none'}"
    raise CheckpointError(f"there is no checkpoint {which!r}; {there}")


def load_agent(path: Path, agent: TD3) -> None:
    """Fill an agent of the same configuration from a verified checkpoint, to train it further.

    Raises:
        CheckpointError: the weights are of another architecture.
    """
    tensors = safetensors.torch.load_file(path / _AGENT, device=str(agent.device))
    tensor_files.fill(agent_tensors(agent), tensors, path)
    saved = safetensors.torch.load_file(path / _OPTIMIZERS, device=str(agent.device))
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
    if agent.graphs is not None:  # a recording would go on with the moments that were there before
        agent.graphs.forget()
    agent.updates = int(_read_state(path)["updates"])


def load_policy(path: Path, agent: TD3) -> None:
    """Fill what an agent drives with, from a verified checkpoint or a policy's file; its critic stays.

    So a run can be driven by a version in which its critic would see another vector.

    Raises:
        CheckpointError: the policy is of another architecture.
    """
    if path.is_file():
        policies.load(path, agent)
        return
    driving = (agent.actor, agent.actor_encoder, agent.target_actor, agent.target_actor_encoder)
    names = {name for name, network in agent.networks().items() if any(network is part for part in driving)}

    def of_policy(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in tensors.items() if name.partition("/")[0] in names}

    saved = safetensors.torch.load_file(path / _AGENT, device=str(agent.device))
    tensor_files.fill(of_policy(agent_tensors(agent)), of_policy(saved), path)


def load_replay(path: Path, replay: Replay) -> bool:
    """Fill the replay; False when the checkpoint was written without one.

    Raises:
        CheckpointError: it does not fit the configuration.
    """
    state = _read_state(path)
    try:
        if state["format"] == 1:
            return _load_replay_of_format_1(path / _REPLAY_OF_FORMAT_1, replay)
        saved: _Replay | None = state.get(_REPLAY)
        if saved is None:
            return False
        if saved["segment"] != SEGMENT:
            raise ValueError(f"its segments have {saved['segment']} slots instead of {SEGMENT}")
        for number, file in enumerate(saved["files"]):
            replay.restore_segment(number, safetensors.numpy.load_file(path.parent / _REPLAY / file))
        replay.restore_cursor(saved["cursor"])
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"the replay of {path}: {error}") from None
    return True


def _load_replay_of_format_1(file: Path, replay: Replay) -> bool:
    """The whole replay in one file, which every checkpoint of the first format had."""
    if not file.exists():
        return False
    arrays = safetensors.numpy.load_file(file)
    cursor = [int(value) for value in arrays.pop("cursor")]
    replay.restore_cursor(cursor)
    for number in range(replay.segments):
        part = slice(number * SEGMENT, (number + 1) * SEGMENT)
        replay.restore_segment(number, {name: array[part] for name, array in arrays.items()})
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


def _name(step: int) -> str:
    return f"{_PREFIX}{step:09d}"


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """A numpy generator's state, JSON-able (PCG64: two big integers)."""
    state: dict[str, Any] = json.loads(json.dumps(rng.bit_generator.state))
    return state


def restore_generator(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Put a numpy generator into a saved state."""
    rng.bit_generator.state = dict(state)
