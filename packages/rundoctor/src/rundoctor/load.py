"""From paths to runs: what is there, what could be read of it, and what could not."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .assembly import build
from .discover import Place, folder_role, places, with_scalars
from .grouping import (
    RunFiles,
    add_tables,
    as_evaluation,
    group_events,
    group_tables,
    name_starts,
    without_fragments,
)
from .naming import AXES
from .readers import ReadError, Source, read_file
from .readers.archive import is_archive, unpack
from .run import Known, Run
from .sidefiles import from_texts, hyper_parameters, run_files
from .signals import evaluation
from .store import BUDGET


@dataclass
class Loaded:
    """Runs found under the given paths, and what could not be used."""

    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was left out of the folders that were named, and why."""
    unreadable: list[str] = field(default_factory=list)
    """Problems with what the user named; these make the exit status 3."""


@dataclass(frozen=True)
class _LoadOptions:
    """What the user asks for, the same for every run."""

    given: Mapping[str, float]
    budget: int
    tree: Path | None
    names: Mapping[str, str]


def load(
    paths: Sequence[str | Path],
    given: Mapping[str, float] | None = None,
    budget: int = BUDGET,
    tree: Path | None = None,
    names: Mapping[str, str] | None = None,
) -> Loaded:
    """Read every run under the given paths.

    A run is a run directory of av-td3, the event files of one folder that go on from each other, or a table.
    Files of one folder that belong to several runs give several (see :mod:`rundoctor.grouping`).

    Args:
        paths: files and folders.
        given: hyper-parameters that the user states, by configuration name.
        budget: points held in memory per run before series are folded.
        tree: source tree to compare the run's code with.
        names: canonical name by tag, as the user states it (``--map``).

    Never raises for what the files hold; damage is reported in the result.
    """
    options = _LoadOptions(given or {}, budget, tree, names or {})
    loaded = Loaded()
    for named in paths:
        if re.match(r"[a-z][a-z0-9+.-]+://", str(named), re.I):
            loaded.unreadable.append(f"{named}: an address; rundoctor reads files, so download it first")
            continue
        path = Path(named)
        runs: list[Run] = []
        problems: list[str] = []
        try:
            runs = _runs_of(path, options, problems)
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
        if runs:
            loaded.runs += runs
            loaded.problems += problems
        else:
            loaded.unreadable += problems or [_why_nothing(path)]
    _name_apart(loaded.runs)
    return loaded


def _runs_of(path: Path, options: _LoadOptions, problems: list[str]) -> list[Run]:
    """The runs in a file, an archive, or a folder; a folder without runs may hold archives of them."""
    if is_archive(path) and path.is_file():
        return _runs_in_archive(path, options, problems)
    runs: list[Run] = []
    for place in _with_scalars(places(path, problems)):
        runs += _load_place(place, options, problems)
    if not runs and path.is_dir():
        for archive in sorted(p for p in path.iterdir() if is_archive(p) and p.is_file()):
            runs += _runs_in_archive(archive, options, problems)
    return _without_foreign_tables(runs, path, problems)


def _with_scalars(found: list[Place]) -> list[Place]:
    """Give ``SummaryWriter.add_scalars``' folders, which hold one curve each, back to the run above them."""
    by_path = {place.path: place for place in found}
    for place in found:
        parent = by_path.get(place.path.parent)
        if parent is None or parent is place or not parent.events or len(place.events) != 1 or place.tables:
            continue
        tag = _tag_of_folder(place)
        if tag:
            by_path[parent.path] = with_scalars(parent, {place.events[0]: tag})
            del by_path[place.path]
    return list(by_path.values())


def _tag_of_folder(place: Place) -> str:
    """``loss/critic`` for a folder ``loss_critic`` whose file holds the tag ``loss`` alone; else empty."""
    if "_" not in place.path.name:
        return ""
    try:
        (source,) = read_file(place.events[0])
    except (ReadError, OSError):
        return ""
    tags = list(source.store.series)
    start = f"{tags[0].replace('/', '_')}_" if len(tags) == 1 else ""
    if not start or not place.path.name.startswith(start):
        return ""
    rest = place.path.name[len(start) :]
    role = folder_role(rest)
    return (
        tags[0] if role == "train" else evaluation.PREFIX + tags[0] if role == "eval" else f"{tags[0]}/{rest}"
    )


def _runs_in_archive(path: Path, options: _LoadOptions, problems: list[str]) -> list[Run]:
    with tempfile.TemporaryDirectory(prefix="rundoctor-") as folder:
        inside = Path(folder) / path.name
        inside.mkdir()
        try:
            unpack(path, inside)
        except ReadError as error:
            problems.append(f"{path}: {error}")
            return []
        found: list[str] = []
        runs = _runs_of(inside, options, found)
        # messages name the archive, not the temporary folder
        problems += [text.replace(str(inside), str(path)) for text in found]
        for run in runs:
            run.path = path / run.path.relative_to(inside)
            run.notes = [note.replace(str(inside), str(path)) for note in run.notes]
            for file in run.files:
                file["path"] = str(file["path"]).replace(str(inside), str(path))
        if not runs and not found:
            problems.append(f"{path}: holds no event file and no table")
        return runs


def _why_nothing(path: Path) -> str:
    try:
        there = path.exists()
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return f"{path}: holds no event file and no table" if there else f"{path}: no such file or folder"


def _load_place(place: Place, options: _LoadOptions, problems: list[str]) -> list[Run]:
    notes: list[str] = []
    events: list[Source] = []
    tables: list[Source] = []
    failed: list[str] = []
    for path in (*place.events, *place.tables):
        try:
            sources = read_file(path, options.budget, options.names)
        except ReadError as error:
            failed.append(f"{path}: {error}")
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
        else:
            with_points = [s for s in sources if s.store.series]
            if not with_points:
                reasons = "; ".join(n for s in sources for n in s.notes)
                reasons = reasons or "it ends before the first logged value"
                failed.append(f"{path}: no scalar could be read ({reasons})")
            for source in with_points:
                if path in place.renamed:
                    source = _renamed(source, place.renamed[path])
                elif path in place.evaluations:
                    source = as_evaluation(source)
                (events if source.kind == "events" else tables).append(source)
    tables = _without_printed(events, tables)
    groups = group_events(events)
    if groups:
        groups = without_fragments(groups)
        name_starts(groups)
        groups = add_tables(groups, tables)
    elif tables:
        groups = without_fragments(group_tables(tables, joined=len({p.parent for p in place.tables}) > 1))
        if len(groups) == 1 and not place.named:
            groups[0].name = ""
    if not groups:
        problems += failed
        return []
    # a bad file beside good ones is a note of the run, unless there are several runs
    if len(groups) == 1:
        notes += failed
    else:
        problems += failed
    extra = run_files(place.path, notes) if place.path.is_dir() else {}
    return [_run_of(group, place, options, notes, extra) for group in groups]


def _renamed(source: Source, tag: str) -> Source:
    """The same file, whose only series has another tag."""
    (builder,) = source.store.series.values()
    builder.tag = tag
    source.store.series = {tag: builder}
    return source


def _without_printed(events: Sequence[Source], tables: list[Source]) -> list[Source]:
    """Leave out a log of the terminal beside files that hold the same, in full precision."""
    kept = [s for s in tables if s.kind != "printed"]
    others = [*events, *kept]
    for source in (s for s in tables if s.kind == "printed"):
        tags = set(source.store.series)
        twin = next((o for o in others if len(tags & set(o.store.series)) >= 0.7 * len(tags)), None)
        if twin is None:
            kept.append(source)
        else:
            twin.notes.append(f"{source.path.name} prints what {twin.path.name} holds and was left out")
    return kept


def _run_of(
    group: RunFiles, place: Place, options: _LoadOptions, notes: Sequence[str], extra: Mapping[str, object]
) -> Run:
    texts: dict[str, str] = {}
    for source in group.sources:
        for tag, text in source.texts.items():
            texts.setdefault(tag, text)
    config = extra.get("config", {})
    assert isinstance(config, dict)
    known = {k: Known(float(v), "the run's configuration") for k, v in hyper_parameters(config)}
    known |= from_texts(texts)
    known |= {k: Known(v, "given") for k, v in options.given.items()}
    name, path = place.path.name or str(place.path), place.path
    if group.name and all(s.kind != "events" for s in group.sources):
        name = group.name
        path = group.sources[0].path
    elif group.name:
        name = f"{name}, {group.name}"
    if place.named:
        labels = [s.label for s in group.sources if s.label]
        name = f"{place.path.name} {labels[0]}" if labels else place.path.name
    described = {str(s.path): s.describe() for s in group.sources}
    return build(
        name,
        path,
        group.store,
        names={tag: name for tag, name in options.names.items() if name not in AXES},
        axes=group.axes,
        files=list(described.values()),
        notes=[*dict.fromkeys(n for s in group.sources for n in s.notes), *group.notes, *notes],
        known=known,
        tree=options.tree,
        pauses=group.pauses,
        axis_columns=tuple(dict.fromkeys(c for s in group.sources for c in s.axis_columns)),
        **extra,
    )


def _without_foreign_tables(runs: list[Run], path: Path, problems: list[str]) -> list[Run]:
    """Leave out tables in a folder of runs that hold no signal of learning, such as a data set."""
    if path.is_file() or all(r.blind for r in runs):
        return runs
    kept = []
    for run in runs:
        if run.blind and not run.too_short and run.path.is_file():
            problems.append(f"{run.path}: none of its columns is recognised; left out (name it to see them)")
        else:
            kept.append(run)
    return kept


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
