"""From paths to runs: what is there, what could be read of it, and what could not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .naming import AXES
from .readers.events import EventFile, read_event_file
from .readers.table import TableError, read_table
from .run import Known, Run, build
from .store import BUDGET, Store

_EVENT = "tfevents"
_HPARAMS = re.compile(r"\d{9,11}\.\d+")
_RUN_FILES = ("config.yaml", "provenance.json", "status.json")


@dataclass
class Loaded:
    """Runs found under the given paths, and what could not be used."""

    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Problems with what the user named; these make the exit status 3."""


def load(
    paths: Sequence[str | Path],
    given: Mapping[str, float] | None = None,
    budget: int = BUDGET,
    tree: Path | None = None,
    names: Mapping[str, str] | None = None,
) -> Loaded:
    """Read every run under the given paths.

    A run is a run directory of av-td3, a folder that holds event files (all of them together
    are one run), a single event file, or a CSV file.

    Args:
        paths: files and folders.
        given: hyper-parameters that the user states, by configuration name.
        budget: points held in memory per run before series are folded.
        tree: source tree to compare the run's code with.
        names: canonical name by tag, as the user states it (``--map``).

    Never raises for what the files hold; damage is reported in the result.
    """
    loaded = Loaded()
    for named in paths:
        if re.match(r"[a-z][a-z0-9+.-]+://", str(named), re.I):
            loaded.unreadable.append(f"{named}: an address; rundoctor reads files, so download it first")
            continue
        path = Path(named)
        before = len(loaded.runs)
        problems: list[str] = []
        try:
            for root, files in _runs_under(path, problems):
                run = _load_run(root, files, dict(given or {}), budget, tree, problems, names or {})
                if run is not None:
                    loaded.runs.append(run)
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
        if len(loaded.runs) == before:
            if not problems:
                problems.append(
                    f"{path}: holds no TensorBoard event file and no CSV file"
                    if path.exists()
                    else f"{path}: no such file or folder"
                )
            loaded.unreadable += problems
        else:
            loaded.problems += problems
    _name_apart(loaded.runs)
    return loaded


MOST_LEVELS = 12


def _runs_under(
    path: Path, problems: list[str], seen: set[Path] | None = None, level: int = 0
) -> list[tuple[Path, list[Path]]]:
    """(root, files) of every run at or below a path; links that lead back are not followed."""
    if not path.exists():
        return []
    if path.is_file():
        return [(path, [path])]
    seen = set() if seen is None else seen
    place = path.resolve()
    if place in seen or level > MOST_LEVELS:
        return []
    seen.add(place)
    try:
        entries = sorted(path.iterdir())
        if _is_run_directory(path):
            return [(path, _event_files(path / "tb") or _event_files(path) or _tables(path))]
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
        return []
    direct = [p for p in entries if _EVENT in p.name and p.is_file()]
    runs: list[tuple[Path, list[Path]]] = []
    if direct:
        runs.append((path, direct))
    for child in entries:
        if child.name.startswith(".") or not child.is_dir():
            continue
        if direct and _HPARAMS.fullmatch(child.name):
            continue  # add_hparams puts a folder named after the time beside the run's own file
        runs += _runs_under(child, problems, seen, level + 1)
    if not runs:
        tables = _tables(path)
        if tables:
            runs.append((path, tables))
    return runs


def _is_run_directory(path: Path) -> bool:
    return any((path / name).is_file() for name in _RUN_FILES) and (
        (path / "tb").is_dir() or bool(_tables(path)) or any(_EVENT in p.name for p in path.iterdir())
    )


def _event_files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob(f"*{_EVENT}*") if p.is_file()) if path.is_dir() else []


def _tables(path: Path) -> list[Path]:
    tables = sorted(p for p in path.glob("*.csv") if p.is_file())
    # our own export carries an index of the series beside them; it holds no points
    return [p for p in tables if p.name != "index.csv"]


def _created(path: Path) -> tuple[float, str]:
    """Event files carry their second of creation in the name."""
    found = re.search(r"tfevents\.(\d{9,11})", path.name)
    return (float(found.group(1)) if found else math.inf, path.name)


def _load_run(
    root: Path,
    files: list[Path],
    given: dict[str, float],
    budget: int,
    tree: Path | None,
    problems: list[str],
    names: Mapping[str, str],
) -> Run | None:
    store = Store(budget)
    notes: list[str] = []
    described: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for path in sorted(files, key=_created):
        try:
            described.append(_read_file(path, store, notes, texts))
        except TableError as error:
            problems.append(f"{path}: {error}")
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
    extra = _run_files(root, notes) if root.is_dir() else {}
    if not store.series:
        if not problems and described:
            what = "; ".join(notes) or "it ends before the first logged value"
            problems.append(f"{root}: no scalar could be read ({what})")
        return None
    known = {k: Known(float(v), "the run's configuration") for k, v in _numbers(extra.get("config", {}))}
    known |= _hyper_from_text(texts)
    known |= {k: Known(v, "given") for k, v in given.items()}
    return build(
        root.name,
        root,
        store,
        files=described,
        notes=notes,
        known=known,
        tree=tree,
        names={tag: name for tag, name in names.items() if name not in AXES},
        **extra,
    )


def _read_file(path: Path, store: Store, notes: list[str], texts: dict[str, str]) -> dict[str, Any]:
    size = path.stat().st_size
    if size == 0:
        notes.append(f"{path.name} is empty")
        return {"path": str(path), "bytes": 0, "points": 0, "kind": "empty"}
    if path.suffix.lower() in (".csv", ".tsv") and _EVENT not in path.name:
        return {"path": str(path), "bytes": size, "points": read_table(path, store), "kind": "csv"}
    result = read_event_file(path, store)
    if not result.is_event_file:
        if _EVENT not in path.name:
            return {"path": str(path), "bytes": size, "points": read_table(path, store), "kind": "csv"}
        raise TableError("not a TensorBoard event file: no sound record in it")
    notes += _damage_notes(path, result)
    for tag, text in result.texts.items():
        texts.setdefault(tag, text)
    return {
        "path": str(path),
        "bytes": size,
        "points": result.points,
        "kind": "events",
        "records": result.damage.records,
        "other": result.other,
    }


def _damage_notes(path: Path, result: EventFile) -> list[str]:
    damage, name = result.damage, path.name
    notes = []
    if damage.bad_payloads:
        notes.append(f"{name}: {damage.bad_payloads} records failed their checksum and were left out")
    if damage.gaps:
        notes.append(
            f"{name}: damaged in {damage.gaps} place{'s' if damage.gaps > 1 else ''}; "
            f"{damage.skipped_bytes:,} bytes were passed over"
        )
    if damage.cut_tail:
        what = (
            "zeros, as a machine that lost power leaves them" if damage.zero_tail else "an unfinished record"
        )
        notes.append(
            f"{name}: ends with {damage.cut_tail:,} bytes of {what}; the writer was stopped in "
            "mid-write, or goes on"
        )
    if result.undecodable:
        notes.append(f"{name}: {result.undecodable} records could not be decoded and were left out")
    return notes


# --- what lies beside the events --------------------------------------------------------


def _run_files(root: Path, notes: list[str]) -> dict[str, Any]:
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


def _numbers(config: Mapping[str, Any]) -> list[tuple[str, float]]:
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


def _hyper_from_text(texts: Mapping[str, str]) -> dict[str, Known]:
    """CleanRL writes its arguments as a Markdown table in a text summary."""
    out: dict[str, Known] = {}
    for tag, text in texts.items():
        cells = dict(re.findall(r"^\|\s*([\w./-]+)\s*\|\s*([^|\n]*?)\s*\|", text, re.M))
        for name, value in _numbers(cells):
            out.setdefault(name, Known(value, f"the text summary {tag}"))
    return out


def _name_apart(runs: list[Run]) -> None:
    """Give runs of the same name the shortest path that tells them apart."""
    for _ in range(4):
        names = [r.name for r in runs]
        twins = [r for r in runs if names.count(r.name) > 1]
        if not twins:
            return
        for r in twins:
            parts = r.path.resolve().parts
            depth = len(Path(r.name).parts) + 1
            r.name = "/".join(parts[-depth:])
