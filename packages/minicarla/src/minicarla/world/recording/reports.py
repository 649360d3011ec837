"""CARLA's reports about a recording: what is in it, its collisions, and who was blocked."""

from __future__ import annotations

import numpy as np

from minicarla.world.recording.file import Recording


def _head(recording: Recording) -> list[str]:
    return [f"Version: 1\nMap: {recording.map}\nDate: {recording.date}\n"]


def _foot(recording: Recording) -> list[str]:
    return [f"\nFrames: {len(recording.ticks)}\nDuration: {recording.duration:g} seconds\n"]


def describe(name: str, everything: bool) -> str:
    """``Client.show_recorder_file_info``: spawns, ends and collisions; ``everything``: positions too."""
    recording = Recording(name)
    lines = _head(recording)
    for tick in recording.ticks:
        body = [
            f" Create {row[0]}: {row[2]} at ({row[4][0]:g}, {row[4][1]:g}, {row[4][2]:g})"
            for row in tick.spawned
        ]
        body += [f" Destroy {actor_id}" for actor_id in tick.destroyed]
        body += [f" Collision between {a} and {b if b >= 0 else kind}" for a, b, kind in tick.contacts]
        if everything:
            body += [
                " Id: {} Location: ({:g}, {:g}, {:g}) Rotation: ({:g}, {:g}, {:g})".format(
                    row["id"], *row["position"].tolist(), *row["rotation"].tolist()
                )
                for row in tick.moving
            ]
        if body:
            lines += [f"Frame {tick.frame} at {tick.elapsed:g} seconds", *body]
    return "\n".join(lines + _foot(recording))


def _category(blueprint: str, role: str) -> str:
    if role == "hero":
        return "h"
    return {"vehicle": "v", "walker": "w", "traffic": "t"}.get(blueprint.split(".")[0], "o")


def collisions(name: str, first: str, second: str) -> str:
    """``Client.show_recorder_collisions``; categories h, v, w, t, o or a for any."""
    recording = Recording(name)
    names = recording.names()
    lines = [*_head(recording), f"{'Time':>8} {'Types':>6} {'Id':>6} {'Actor 1':<36} {'Id':>6} Actor 2"]
    before: set[tuple[int, int]] = set()
    for tick in recording.ticks:
        now = {(a, b) for a, b, _ in tick.contacts}
        for a, b, kind in tick.contacts:
            if (a, b) in before:
                continue  # still the same collision
            one = names.get(a, ("unknown", ""))
            two = names.get(b, ("unknown", "")) if b >= 0 else (f"static.{kind}", "")
            types = (_category(*one), _category(*two))
            if all(want in ("a", have) for want, have in zip((first, second), types, strict=True)):
                lines.append(
                    f"{tick.elapsed:8.2f} {types[0]:>3} {types[1]} {a:>7} {one[0]:<36} {b:>6} {two[0]}"
                )
        before = now
    return "\n".join(lines + _foot(recording))


def blocked(name: str, least_seconds: float, distance: float) -> str:
    """``Client.show_recorder_actors_blocked``: vehicles that moved less than ``distance`` metres
    for at least ``least_seconds``, longest first."""
    recording = Recording(name)
    names = recording.names()
    since: dict[int, tuple[float, np.ndarray]] = {}
    rows = []

    def leave(actor_id: int, now: float) -> None:
        start, _ = since.pop(actor_id)
        if now - start >= least_seconds:
            rows.append((now - start, start, actor_id))

    for tick in recording.ticks:
        for actor_id in tick.destroyed:
            if actor_id in since:
                leave(actor_id, tick.elapsed)
        for row in tick.moving:
            actor_id, position = int(row["id"]), row["position"].astype(float)
            if not names.get(actor_id, ("", ""))[0].startswith("vehicle."):
                continue
            if actor_id in since and np.linalg.norm(position - since[actor_id][1]) >= distance:
                leave(actor_id, tick.elapsed)
            since.setdefault(actor_id, (tick.elapsed, position))
    for actor_id in list(since):
        leave(actor_id, recording.times[-1])
    lines = [*_head(recording), f"{'Time':>8} {'Id':>6} {'Actor':<36} {'Duration':>9}"]
    lines += [
        f"{start:8.2f} {actor_id:>6} {names[actor_id][0]:<36} {seconds:9.2f}"
        for seconds, start, actor_id in sorted(rows, key=lambda row: (-row[0], row[1], row[2]))
    ]
    return "\n".join(lines + _foot(recording))
