"""From the points of one or several files to a run: axes, continuations, canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .algorithm import ON_POLICY, recognise
from .aliases import resolve
from .run import Run
from .series import Series, finish
from .signals import episodes, evaluation, replay, system_of
from .signals.systems import COUNTED, is_axis
from .signals.words import says_percent, without_percent
from .store import Builder, Rewind, Store

_EPISODIC = tuple(
    signal.name
    for signal in (
        episodes.RETURN,
        episodes.LENGTH,
        episodes.COLLISIONS,
        episodes.LANE_INVASIONS,
        episodes.ROUTE_COMPLETION,
    )
)
"""Names of the signals that some systems log with the number of the episode as their step."""


def build(
    name: str,
    path: Path,
    store: Store,
    names: Mapping[str, str] | None = None,
    axes: Mapping[str, str] | None = None,
    **rest: Any,
) -> Run:
    """Put the points of a store in order.

    Args:
        names: canonical name by tag, as the user states it; outweighs what the tag is known as.
        axes: what the x-axis counts, for the tags that come from tables, which say it; for the others it is
            worked out from the points.
        rest: further fields of :class:`Run`.
    """
    renamed = _as_shares(store, names or {})
    stated = {renamed.get(tag, tag): axis for tag, axis in (axes or {}).items()}
    counted = COUNTED.get(system_of(store.series))
    if counted is not None:
        stated = dict.fromkeys(store.series, counted) | stated
    parents = reversed(path.absolute().parts[-2:])
    # a column that never holds a number says nothing: an entropy that the algorithm does not have
    sizes = {
        tag: max(abs(b.lowest.value), abs(b.highest.value))
        for tag, b in store.series.items()
        if b.lowest is not None and b.highest is not None
    }
    algorithm = recognise(sizes, rest.get("config") or {}, [name, *parents], system_of(store.series))
    matches, unmapped = resolve(store.series, names, on_policy=ON_POLICY in algorithm.has)
    unmapped = [t for t in unmapped if not is_axis(t.removeprefix(evaluation.PREFIX))]
    run = Run(name, path, {}, matches, unmapped, system_of(store.series), **rest)
    if run.provenance or run.status or _is_own(run.config):
        run.system = "av-td3"
    restarting = {t for t, b in store.series.items() if t not in stated and _restarts(b)}
    again = _continuations(store, restarting)
    for tag, builder in store.series.items():
        positions = [r.position for r in builder.rewinds if (tag, r.position) in again]
        run.series[tag] = finish(builder, positions)
    for tag, axis in stated.items():
        if tag in run.series:
            run.series[tag].axis = axis
    run.notes += [f"{old!r} is in per cent; it is read as a share, {new!r}" for old, new in renamed.items()]
    _assign_axes(run, restarting, stated)
    run.axis = _main_axis(run)
    _note_continuations(run, again)
    _note_clock(run)
    if store.dropped_tags:
        run.notes.append(f"more tags than are kept: points of {store.dropped_tags} batches were left out")
    folded = [s for s in run.series.values() if s.folded]
    if folded:
        run.notes.append(
            f"{len(folded)} series were folded into buckets (mean, minimum, maximum) to bound memory; "
            "first, last and extreme points are exact"
        )
    return run


_SHARES = {
    signal.name
    for signal in (
        episodes.SUCCESS,
        episodes.ROUTE_COMPLETION,
        evaluation.SUCCESS,
        evaluation.ROUTE_COMPLETION,
    )
}
"""Signals from 0 to 1, which some log in per cent."""


def _as_shares(store: Store, names: Mapping[str, str]) -> dict[str, str]:
    """Divide shares whose tags say per cent by 100; take the unit out of tags that the user did not state.

    Returns:
        the new tag by the old one.
    """
    renamed = {}
    for tag in [t for t in store.series if says_percent(t)]:
        found, _ = resolve([tag], {tag: names[tag]} if tag in names else None)
        new = tag if tag in names else without_percent(tag)
        if not _SHARES & set(found) or not new or (new != tag and new in store.series):
            continue
        builder = store.series.pop(tag)
        builder.scale(0.01)
        builder.tag = new
        store.series[new] = builder
        renamed[tag] = new
    return renamed


def _is_own(config: Mapping[str, Any]) -> bool:
    """Whether a configuration has the sections of av-td3's: other systems keep a config.yaml, too."""
    return {"agent", "env", "train"} <= {key.split(".", 1)[0] for key in config}


def _main_axis(run: Run) -> str:
    """Steps if any series has them, else what most of the points count."""
    points: dict[str, int] = {}
    for s in run.series.values():
        points[s.axis] = points.get(s.axis, 0) + s.count
    return "step" if "step" in points or not points else max(points, key=lambda axis: points[axis])


def _restarts(builder: Builder) -> bool:
    """Whether the axis restarts again and again, as one does that counts steps within an episode.

    Steps that jump back to other places are only out of order, and have to be sorted.
    """
    if builder.rewind_count <= 8 or builder.rewind_count <= 0.01 * builder.count:
        return False
    near = builder.lowest_step + 0.1 * (builder.highest_step - builder.lowest_step)
    return float(np.mean([r.after <= near for r in builder.rewinds])) > 0.8


def _continuations(store: Store, restarting: set[str]) -> dict[tuple[str, int], Rewind]:
    """The jumps back at which a resumed run began to log some steps again, by tag and position.

    Between two files it is certain.  Within a file a good part of the series must jump at the same time: if
    only one does, that is a peculiarity of its tag.
    """
    out: dict[tuple[str, int], Rewind] = {}
    groups: list[tuple[Rewind, list[tuple[str, Rewind]]]] = []
    for tag, builder in store.series.items():
        if tag in restarting:
            continue
        jitter = builder.rewind_count >= 3
        small = max(3 * builder.gap, 0.01 * (builder.highest_step - builder.lowest_step))
        for rewind in builder.rewinds:
            if rewind.seam:
                out[tag, rewind.position] = rewind
                continue
            if jitter and rewind.before - rewind.after <= small:
                continue  # rows that are a little out of order
            for first, members in groups:
                if _same_moment(first, rewind):
                    members.append((tag, rewind))
                    break
            else:
                groups.append((rewind, [(tag, rewind)]))
    least = max(1.0, 0.2 * sum(1 for t, b in store.series.items() if t not in restarting and b.count > 1))
    for _, members in groups:
        if len({tag for tag, _ in members}) >= least:
            out.update({(tag, r.position): r for tag, r in members})
    return out


def _same_moment(a: Rewind, b: Rewind) -> bool:
    if abs(a.after - b.after) <= max(1, 0.02 * abs(a.after)):
        return True
    return bool(np.isfinite(a.wall) and np.isfinite(b.wall) and abs(a.wall - b.wall) < 1.0)


def _assign_axes(run: Run, restarting: set[str], stated: Mapping[str, str]) -> None:
    """Tell series on the environment-step axis from those indexed by episode or otherwise.

    The longest axis is the step axis.  Another series is on it when, at the wall time of its
    points, the step axis is at the point's own step.
    """
    plain = {t: s for t, s in run.series.items() if t not in restarting and t not in stated and len(s)}
    for tag in restarting:
        run.series[tag].axis = "unknown"
    if not plain:
        return
    size = run.get(replay.SIZE)
    if size is not None and len(size) > 2 and size.tag in plain:
        reference = size.last.step
    else:
        reference = max(s.last.step for s in plain.values())
    # The most densely logged of those that reach furthest carries the clock.
    far = [s for s in plain.values() if s.last.step >= 0.5 * reference and np.isfinite(s.wall).all()]
    clock = max(far, key=len, default=None)
    episodic = {m.tag for name in _EPISODIC for m in run.matches.get(name, []) if "_mean" not in m.tag}
    for s in plain.values():
        if s.last.step >= 0.5 * reference or reference <= 0:
            continue
        unit = len(s) >= 5 and float(np.mean(np.diff(s.step) == 1)) > 0.9 and s.step[0] <= 1
        if clock is not None and np.isfinite(s.wall).all() and len(clock) >= 2:
            order = np.argsort(clock.wall, kind="stable")
            there = np.interp(s.wall, clock.wall[order], clock.step[order])
            off = there - s.step
            # A series that merely ended early agrees with the clock where it has points.
            agrees = float(np.median(np.abs(off) <= np.maximum(0.25 * there, 2 * _gap(clock)))) >= 0.5
            if agrees or (len(s) < 3 and not unit):
                continue
            s.axis = "episode" if (unit or s.tag in episodic) else "unknown"
        elif unit and (s.tag in episodic or len(s) >= 20):
            s.axis = "episode"
    counters = [s for s in plain.values() if s.axis == "episode"]
    if counters and clock is not None:
        counter = max(counters, key=len)
        for s in plain.values():
            if s.axis == "unknown" and np.isfinite(s.wall).all():
                there = np.interp(s.wall, counter.wall, counter.step)
                if float(np.median(np.abs(there - s.step))) <= 1.5:
                    s.axis = "episode"


def _gap(s: Series) -> float:
    return float(np.median(np.diff(s.step))) if len(s) > 1 else 0.0


def _note_continuations(run: Run, again: Mapping[tuple[str, int], Rewind]) -> None:
    seen: dict[tuple[int, int], int] = {}
    for (tag, _), rewind in again.items():
        if run.series[tag].axis != "step":
            continue
        key = next(
            (k for k in seen if abs(k[1] - rewind.after) <= max(1, 0.02 * abs(k[1]))),
            (rewind.before, rewind.after),
        )
        seen[key] = seen.get(key, 0) + 1
    run.resumed_at = sorted(seen)
    for before, after in run.resumed_at:
        run.notes.append(
            f"steps jump back from {before:,} to {after:,}: the run was resumed from an earlier step; what "
            "it logged later is kept"
        )
    for pause in run.pauses:
        if pause.after > pause.before:
            later = f" after {pause.seconds / 60:,.0f} minutes" if pause.seconds >= 60 else ""
            where = f"it goes on from step {pause.before:,} in another file"
            run.notes.append(f"the run was resumed{later}: {where}")
    dropped = sum(s.overridden for s in run.series.values())
    if dropped:
        run.notes.append(f"{dropped:,} points were left out because a resumed run logged their steps again")


def _note_clock(run: Run) -> None:
    step, wall = run.timeline
    keep = np.isfinite(wall)
    if keep.sum() < 2:
        if len(step):
            run.notes.append("the file has no times: speed and gaps cannot be judged")
        return
    dt = np.diff(wall[keep])
    if (dt < -1.0).any():
        worst = int(np.argmin(dt))
        run.notes.append(
            f"the clock jumps back by {-dt[worst]:,.0f} s at step {int(step[keep][worst + 1]):,}; "
            "speeds leave that interval out"
        )
