"""The files beside the points of a run: configuration, provenance, status, hyper-parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .run import Known


def run_files(root: Path, notes: list[str]) -> dict[str, Any]:
    """What a run directory of av-td3 holds besides series, as fields of :class:`Run`.

    Files that cannot be read are noted and left out; nothing in them is executed.
    """
    out: dict[str, Any] = {}
    config = _yaml(root / "config.yaml", notes)
    if isinstance(config, dict):
        out["config"] = dict(_flatten(config))
    for key in ("provenance", "status"):
        value = _json(root / f"{key}.json", notes)
        if isinstance(value, dict):
            out[key] = value
    for key in ("incidents", "alerts"):
        out[key] = _json_lines(root / f"{key}.jsonl", notes) or _json_lines(
            root / "logs" / f"{key}.jsonl", notes
        )
    return out


def _yaml(path: Path, notes: list[str]) -> Any:
    if not path.is_file():
        return None
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        notes.append(f"{path.name} could not be read")
        return None


def _json(path: Path, notes: list[str]) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} could not be read")
        return None


def _json_lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    bad = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if len(out) >= 10_000:
                    notes.append(f"{path.name}: only the first 10,000 entries were read")
                    break
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError):
                    bad += bool(line.strip())
                    continue
                if isinstance(entry, dict):
                    out.append(entry)
    except OSError:
        return []
    if bad:
        notes.append(f"{path.name}: {bad} lines could not be read")
    return out


def _flatten(tree: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out += _flatten(value, f"{prefix}{key}.")
        else:
            out.append((f"{prefix}{key}", value))
    return out


# Names under which other systems keep the hyper-parameters that the rules ask for.
NAMES = {
    "gamma": ("gamma", "discount"),
    "tau": ("tau", "polyak"),
    "batch_size": ("batch_size",),
    "policy_delay": ("policy_delay", "policy_frequency", "policy_freq"),
    "policy_noise": ("policy_noise", "target_policy_noise"),
    "noise_clip": ("noise_clip", "target_noise_clip"),
    "actor_lr": ("actor_lr", "policy_lr", "learning_rate"),
    "critic_lr": ("critic_lr", "q_lr", "learning_rate"),
    "actor_encoder_lr": ("actor_encoder_lr", "actor_cnn_lr"),
    "critic_encoder_lr": ("critic_encoder_lr", "critic_cnn_lr"),
    "exploration_noise": ("exploration.noise", "exploration_noise", "expl_noise"),
    "warmup_steps": ("exploration.warmup_steps", "learning_starts", "start_timesteps"),
    "buffer_size": ("replay.capacity", "buffer_size", "replay_size"),
    "steps": ("train.steps", "total_timesteps", "max_timesteps", "total_frames"),
    "evaluation_interval": ("evaluation.interval", "eval_freq", "eval_frequency"),
    "actor_clip_norm": ("actor_clip_norm", "max_grad_norm"),
    "critic_clip_norm": ("critic_clip_norm", "max_grad_norm"),
    "actor_q_clamp": ("actor_q_clamp",),
    "n_step": ("n_step", "nstep", "n_steps"),
}


def hyper_parameters(config: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Hyper-parameters by our names out of a flattened configuration."""
    out = []
    short: dict[str, Any] = {}
    for key, value in config.items():
        short.setdefault(key.rsplit(".", 1)[-1], value)
    for name, aliases in NAMES.items():
        for alias in aliases:
            value = config.get(alias, short.get(alias) if "." not in alias else None)
            if isinstance(value, bool) or value is None:
                continue
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            out.append((name, number))
            break
    return out


def from_texts(texts: Mapping[str, str]) -> dict[str, Known]:
    """CleanRL writes its arguments as a Markdown table in a text summary."""
    out: dict[str, Known] = {}
    for tag, text in texts.items():
        cells = dict(re.findall(r"^\|\s*([\w./-]+)\s*\|\s*([^|\n]*?)\s*\|", text, re.M))
        for name, value in hyper_parameters(cells):
            out.setdefault(name, Known(value, f"the text summary {tag}"))
    return out
