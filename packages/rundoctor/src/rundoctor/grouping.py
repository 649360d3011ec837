"""Which files belong to one run: continuations, new starts, and files that complete each other.

Nothing is left out in silence: what is not judged is named in the run's notes or in the problems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .aliases import resolve
from .readers.filenames import download_of, tag_of_file
from .readers.monitor import merge_monitors
from .readers.source import Source, plain_name
from .run import Pause
from .signals import EVALUATION_WORDS, actor, critic, evaluation, others
from .store import Builder, Store

_SLACK = 5.0
"""Seconds that the clocks of two machines, and the last flush of a writer, may be apart."""
_FRAGMENT_ROWS, _FRAGMENT_SHARE = 5, 0.02
"""A start with fewer rows, or a smaller share of the longest one's, is noted and not judged on its own."""
_MOST_NAMED = 3
"""Files that a note names."""
_MOST_STARTS = 8
"""Starts within one event file; more are an axis that counts anew with every episode."""


@dataclass
class RunFiles:
    """The files of one run, in the order in which they were written."""

    sources: list[Source]
    name: str = ""
    """What tells the run apart from others in its folder; empty where it is alone."""
    store: Store = field(default_factory=Store)
    pauses: list[Pause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)

    def add(self, source: Source) -> None:
        """Append a later file of the same run."""
        if self.store.series and source.kind == "events":
            self._note_pause(source.store)
        if source.axis is not None:
            self.axes.update(dict.fromkeys(source.store.series, source.axis))
        self.pauses += [Pause(a.step, b.step, a.wall, b.wall) for a, b in source.pauses]
        self.store.join(source.store)
        if source not in self.sources:
            self.sources.append(source)

    def _note_pause(self, following: Store) -> None:
        shared = [t for t in following.series if t in self.store.series]
        ends = [self.store.series[t].last for t in shared]
        begins = [following.series[t].first for t in shared]
        before = max((p for p in ends if p is not None), key=lambda p: p.step, default=None)
        after = min((p for p in begins if p is not None), key=lambda p: p.step, default=None)
        if before is not None and after is not None:
            self.pauses.append(Pause(before.step, after.step, before.wall, after.wall))

    @property
    def rows(self) -> int:
        """Points of the longest series."""
        return self.store.longest


# --- event files ------------------------------------------------------------------------------


def group_events(sources: Sequence[Source]) -> list[RunFiles]:
    """Put the event files of one folder into runs, in order of creation.

    A file goes on with the run whose last step it begins behind, or not far before; a file that begins where
    the run once began is a new start; one that was written at the same time with the same tags is another
    process; one with other tags completes the run.
    """
    pieces: list[tuple[Source, Store]] = []
    for source in sorted(sources, key=lambda s: created(s.path, s.store)):
        pieces += [(source, store) for store in _starts_within(source.store)]
    groups: list[RunFiles] = []
    for source, store in pieces:
        following = Source(source.path, source.kind, store, notes=source.notes, texts=source.texts)
        group = _continued(groups, store)
        if group is None:
            group = RunFiles([], store=Store(store.budget))
            groups.append(group)
        group.add(following)
    return groups


def created(path: Path, store: Store) -> tuple[float, str]:
    """When a file was created: event files carry the second in their name; else its first point."""
    found = re.search(r"tfevents\.(\d{9,11})", path.name)
    if found is not None:
        return float(found.group(1)), path.name
    walls = [b.first.wall for b in store.series.values() if b.first is not None]
    return min((w for w in walls if np.isfinite(w)), default=np.inf), path.name


def _continued(groups: Sequence[RunFiles], store: Store) -> RunFiles | None:
    """The run that a later file belongs to; None where it begins a new one."""
    rivals = [g for g in groups if not _has_other_tags(g.store, store)]
    if not rivals:
        together = [g for g in groups if _together(g.store, store)]
        completed = together or groups
        return completed[-1] if completed else None
    if _begins_like(max(rivals, key=lambda g: g.rows).store, store):
        return None
    for group in reversed(rivals):
        if _goes_on(group.store, store):
            return group
    return None


def _has_other_tags(a: Store, b: Store) -> bool:
    return len(_shared(a, b)) < 0.2 * min(len(a.series), len(b.series))


def _shared(a: Store, b: Store) -> list[str]:
    return [t for t in b.series if t in a.series]


def _span(store: Store) -> tuple[float, float]:
    walls = [p.wall for b in store.series.values() for p in (b.first, b.last) if p is not None]
    walls = [w for w in walls if np.isfinite(w)]
    return (min(walls), max(walls)) if walls else (np.nan, np.nan)


def _together(a: Store, b: Store) -> bool:
    """Whether both were being written at the same time."""
    (a0, a1), (b0, b1) = _span(a), _span(b)
    overlap = min(a1, b1) - max(a0, b0)
    return bool(overlap > max(_SLACK, 0.01 * min(a1 - a0, b1 - b0)))


def _begins_like(a: Store, b: Store) -> bool:
    """Whether most series of ``b`` begin where those of ``a`` began, within one row."""
    votes = [_in_start_zone(a.series[t], b.series[t]) for t in _shared(a, b)]
    return bool(votes) and float(np.mean(votes)) >= 0.5


def _in_start_zone(a: Builder, b: Builder) -> bool:
    assert a.first is not None and b.first is not None
    row = a.gap or b.gap or 1.0
    return b.first.step < a.first.step + row


def _goes_on(a: Store, b: Store) -> bool:
    return not _together(a, b) and not _begins_like(a, b) and _follows(a, b)


def _follows(a: Store, b: Store) -> bool:
    """Whether the steps of ``b`` go on from those of ``a``, without a jump that no checkpoint explains."""
    votes = []
    for tag in _shared(a, b):
        mine, other = a.series[tag], b.series[tag]
        assert other.first is not None
        row = mine.gap or other.gap or 1.0
        jump = other.first.step - mine.highest_step
        votes.append(jump <= max(20 * row, 0.25 * (mine.highest_step - mine.lowest_step)))
    return bool(votes) and float(np.mean(votes)) >= 0.5


def _starts_within(store: Store) -> list[Store]:
    """Split a store where most of its series fall back to their beginning at the same time."""
    able = [b for b in store.series.values() if b.count > 1 and b.bucket == 1]
    if not able:
        return [store]
    times: list[list[float]] = []
    for builder in able:
        assert builder.first is not None
        row = builder.gap or 1.0
        back = [r for r in builder.rewinds if r.after < builder.first.step + row and r.before > r.after + row]
        times.append([r.wall for r in back])
    counts = [len(t) for t in times]
    starts = int(np.median(counts))
    if not 0 < starts <= _MOST_STARTS or any(not np.isfinite(w) for t in times for w in t):
        return [store]
    chosen = [t for t in times if len(t) == starts]
    if len(chosen) < 0.5 * len(able):
        return [store]
    # the first point of each start, of the series that is logged first
    edges = [min(t[k] for t in chosen) for k in range(starts)]
    if edges != sorted(edges):
        return [store]
    parts = [Store(store.budget) for _ in range(starts + 1)]
    for tag, builder in store.series.items():
        rows = builder.rows()
        times_so_far = np.maximum.accumulate(np.nan_to_num(rows[:, 1]))
        which = np.searchsorted(np.asarray(edges) - 1e-6, times_so_far, side="right")
        for k, part in enumerate(parts):
            mine = rows[which == k]
            if len(mine):
                part.append(tag, mine[:, 0].astype(np.int64), mine[:, 1], mine[:, 2])
    return [p for p in parts if p.series]


# --- tables -----------------------------------------------------------------------------------

_TRAINING = {"train", "training", "progress", "log", "logs", "metrics", "history", "results", "scalars"}


def role_of(path: Path) -> tuple[str, str]:
    """(rest of the name, role) of a table: ``seed0_eval.csv`` is ``("seed0", "eval")``."""
    stem = plain_name(path).rsplit(".", 1)[0].lower()
    words = [w for w in re.split(r"[_.\-\s]+", stem) if w]
    role = ""
    if any(w in EVALUATION_WORDS for w in words):
        role = "eval"
    elif any(w in _TRAINING for w in words):
        role = "train"
    rest = [w for w in words if w not in EVALUATION_WORDS and w not in _TRAINING and w != "monitor"]
    return "_".join(rest), role


_UPDATES = {
    signal.name
    for signal in (
        *(critic.LOSS, critic.LOSS_2, critic.Q1.mean, critic.Q1.max, critic.TARGET.mean, critic.TD_ERROR),
        *(actor.LOSS, others.VALUE_LOSS, others.SURROGATE_LOSS, others.ALPHA, others.EPSILON),
    )
}
"""Signals that only a process that trains has."""


def _role(source: Source) -> str:
    """The role of a table; one that holds losses or Q of updates is of training, whatever its name is."""
    role = role_of(source.path)[1]
    if role != "eval":
        return role
    found, _ = resolve(source.store.series)
    trains = any(m.note != critic.UNNAMED for name in _UPDATES & set(found) for m in found[name])
    return "train" if trains else "eval"


def group_tables(sources: Sequence[Source], joined: bool = False) -> list[RunFiles]:
    """Put the tables of one folder into runs: each is one, unless files complete each other.

    Args:
        joined: whether they come from the folders of one run (``train`` and ``eval``), so that files of the
            same name belong together.
    """
    if joined and _one_of_each(sources):
        return [_joined(sources)]
    singles: dict[str, list[Source]] = {}
    monitors: list[Source] = []
    evaluations: list[Source] = []
    others: list[Source] = []
    for source in sources:
        if source.kind == "npz":
            evaluations.append(source)
        elif source.kind == "monitor":
            monitors.append(source)
        elif not source.label and _is_single(source):
            download = download_of(source.path)
            singles.setdefault(download[0] if download is not None else "", []).append(source)
        else:
            others.append(source)
    groups = [
        _joined(items, name if len(singles) > 1 else "") for name, items in singles.items() if len(items) > 1
    ]
    others += [items[0] for items in singles.values() if len(items) == 1]
    groups += _by_role(_without_repeats(others, groups))
    for merged in _parallel(monitors):
        _complete(groups, merged)
    for source in evaluations:
        _complete(groups, source)
    return groups


def _one_of_each(sources: Sequence[Source]) -> bool:
    """Whether each folder holds one table of one run."""
    folders = [s.path.parent for s in sources]
    return len(set(folders)) == len(folders) > 1 and not any(s.label for s in sources)


def _is_single(source: Source) -> bool:
    return list(source.store.series) == [tag_of_file(source.path)]


def _joined(sources: Sequence[Source], name: str = "") -> RunFiles:
    group = RunFiles([], name, Store(sources[0].store.budget))
    for source in sources:
        group.add(source)
    return group


def _stem(source: Source) -> str:
    stem = plain_name(source.path).rsplit(".", 1)[0]
    return f"{stem} {source.label}" if source.label else stem


def _without_repeats(sources: Sequence[Source], groups: Sequence[RunFiles]) -> list[Source]:
    """Leave out a file whose rows stand in another, and name it in the other's notes.

    RLlib and baselines write the same rows as CSV and as JSON, DreamerV3 its scores in a file of their own.
    """
    kept: list[Source] = []
    for source in sorted(sources, key=lambda s: (s.kind != "csv", -len(s.store.series))):
        twin = next((k for k in kept if _says_it_all(k, source)), None)
        if twin is None:
            kept.append(source)
        else:
            twin.notes.append(f"{source.path.name} repeats {twin.path.name} and was left out")
    return kept


def _says_it_all(a: Source, b: Source) -> bool:
    """Whether the file ``b`` holds nothing that ``a`` does not."""
    if a.kind != b.kind:
        return repeats(b.store, a.store)
    if a.label or b.label or not b.store.series.keys() <= a.store.series.keys():
        return False
    return all(
        np.array_equal(mine.rows()[:, (0, 2)], a.store.series[tag].rows()[:, (0, 2)], equal_nan=True)
        for tag, mine in b.store.series.items()
    )


def repeats(a: Store, b: Store) -> bool:
    """Whether ``a`` holds nothing that ``b`` does not: the same tags, as many points, the same values."""
    mine = [t for t in a.series if t in b.series]
    if len(mine) < max(1.0, 0.8 * min(len(a.series), len(b.series))):
        return False
    same = 0
    for tag in mine:
        x, y = a.series[tag], b.series[tag]
        assert x.last is not None and y.last is not None
        close = np.isclose(x.last.value, y.last.value, rtol=1e-4, equal_nan=True)
        same += bool(close) and abs(x.count - y.count) <= max(2, 0.02 * y.count)
    return same >= 0.8 * len(mine)


def _by_role(sources: Sequence[Source]) -> list[RunFiles]:
    """Pairs such as train.csv and eval.csv become one run; every other table is one of its own."""
    by_rest: dict[tuple[Path, str], list[Source]] = {}
    for source in sources:
        if not source.label:
            by_rest.setdefault((source.path.parent, role_of(source.path)[0]), []).append(source)
    groups: list[RunFiles] = []
    paired: set[int] = set()
    for (_, rest), items in by_rest.items():
        roles = [_role(s) for s in items]
        main = [s for s, role in zip(items, roles, strict=True) if role != "eval"]
        evals = [s for s, role in zip(items, roles, strict=True) if role == "eval"]
        if len(main) == 1 and evals:
            paired |= {id(s) for s in items}
            groups.append(_joined([main[0], *(as_evaluation(s) for s in evals)], rest))
    for source in sources:
        if id(source) in paired:
            continue
        if role_of(source.path)[0] == "" and _role(source) == "eval":
            source = as_evaluation(source)
        groups.append(_joined([source], _stem(source)))
    return groups


def as_evaluation(source: Source) -> Source:
    """The same file with its tags under ``eval/``, unless they say it themselves."""
    store = Store(source.store.budget)
    for tag, builder in source.store.series.items():
        found, _ = resolve([tag])
        known = any(name.startswith("eval_") for name in found)
        builder.tag = tag if known else f"{evaluation.PREFIX}{tag}"
        store.series[builder.tag] = builder
    store.points, store.held = source.store.points, source.store.held
    source.store = store
    return source


def _parallel(monitors: Sequence[Source]) -> list[Source]:
    """Monitor files whose times overlap were written side by side by the environments of one run."""
    out: list[Source] = []
    pools: list[tuple[str, list[Source]]] = []
    for source in monitors:
        role = role_of(source.path)[1]
        for pool_role, pool in pools:
            if pool_role == role and any(_together(source.store, s.store) for s in pool):
                pool.append(source)
                break
        else:
            pools.append((role, [source]))
    for role, pool in pools:
        merged = merge_monitors(pool) if len(pool) > 1 else pool[0]
        out.append(as_evaluation(merged) if role == "eval" else merged)
    return out


def _complete(groups: list[RunFiles], source: Source) -> None:
    """Add a monitor file or evaluations to the one run of the folder; alone, they are a run."""
    if len(groups) != 1:
        groups.append(_joined([source], _stem(source)))
        return
    group = groups[0]
    known, _ = resolve(group.store.series)
    added, _ = resolve(source.store.series)
    if source.kind == "npz" and set(added) <= set(known):
        group.notes.append(f"{source.path.name} repeats evaluations that are logged and was left out")
        return
    if source.kind == "monitor" and any(s.kind == "monitor" for s in group.sources):
        groups.append(_joined([source], _stem(source)))
        return
    group.add(source)


def add_tables(groups: list[RunFiles], tables: Sequence[Source]) -> list[RunFiles]:
    """Tables beside event files: those that repeat them are noted, the others are runs of their own."""
    rest = []
    for source in tables:
        twin = next((g for g in groups if repeats(source.store, g.store)), None)
        if twin is not None:
            twin.notes.append(f"{source.path.name} repeats the event file and was left out")
        elif source.kind not in ("npz", "monitor") or len(groups) != 1:
            rest.append(source)
        else:
            _complete(groups, source)
    return [*groups, *group_tables(rest)] if rest else groups


# --- what is left -----------------------------------------------------------------------------


def name_starts(groups: list[RunFiles]) -> None:
    """Number the runs of one folder that nothing else tells apart."""
    unnamed = [g for g in groups if not g.name]
    if len(groups) > 1:
        for k, group in enumerate(unnamed, 1):
            group.name = f"start {k}" if len(unnamed) > 1 else ""


def without_fragments(groups: list[RunFiles]) -> list[RunFiles]:
    """Leave out starts that hold next to nothing beside a long one, and say so in the long one's notes."""
    if len(groups) < 2:
        return groups
    longest = max(groups, key=lambda g: g.rows)
    least = max(_FRAGMENT_ROWS, _FRAGMENT_SHARE * longest.rows)
    kept = [g for g in groups if g is longest or g.rows >= least or longest.rows < 4 * _FRAGMENT_ROWS]
    left = [g for g in groups if g not in kept]
    if not left:
        return kept
    files = list(dict.fromkeys(s.path.name for g in left for s in g.sources))
    named = ", ".join(files[:_MOST_NAMED]) + (
        f" and {len(files) - _MOST_NAMED} more" * (len(files) > _MOST_NAMED)
    )
    steps = max((b.highest_step for g in left for b in g.store.series.values()), default=0)
    rows = max(g.rows for g in left)
    if len(left) == 1:
        what = f"another start of {rows:,} row{'s' * (rows != 1)}, up to step {steps:,}, is"
    else:
        what = (
            f"{len(left)} other starts of at most {rows:,} row{'s' * (rows != 1)}, up to step {steps:,}, are"
        )
    verb = "was" if len(left) == 1 else "were"
    longest.notes.append(f"{what} too short to judge and {verb} left out ({named})")
    return kept
