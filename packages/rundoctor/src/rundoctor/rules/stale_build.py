"""The code or the configuration that ran is not the one in the tree."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from ..code import PACKAGES, code_state, in_tree, installed
from ..model import WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped
from ..run import Run
from ..signals import networks, replay


def check(run: Run) -> Outcome:
    evidence = _image(run) + _continuations(run) + _configured(run)
    tree, judged = _tree(run)
    evidence += tree
    if evidence:
        return Finding(
            "stale-build",
            WARNING,
            "What ran is not what the tree or the configuration says",
            evidence,
            "The container image was not rebuilt, an installed copy of the package is imported instead of "
            "the checkout, or nothing reads the configuration key. Changes that you believe to be in this "
            "run are not in it.",
            "Rebuild the image, or run pip install -e again. Check that the hash of the code in "
            "provenance.json matches. Then repeat the run before you draw conclusions from it.",
            0.9,
        )
    if not run.provenance and not run.config:
        return Skipped(
            "the run records neither provenance nor configuration",
            ("provenance.json", "config.yaml"),
            "Record commit, code hash and configuration when the run starts.",
        )
    return Clear(judged or "provenance and configuration agree with what was logged")


def _image(run: Run) -> list[Evidence]:
    """An image built from another commit than the one checked out."""
    git = run.provenance.get("git")
    build = run.provenance.get("image_build")
    commit = git.get("commit") if isinstance(git, dict) else run.provenance.get("git_commit")
    out = []
    if isinstance(build, dict):
        build = build.get("commit") or build.get("git_commit")
    if isinstance(build, str) and isinstance(commit, str) and _looks_like_commit(build):
        short = min(len(build), len(commit))
        if short >= 7 and build[:short].lower() != commit[:short].lower():
            out.append(
                Evidence(
                    "provenance.json",
                    None,
                    None,
                    f"the image was built from commit {build[:12]}, the checkout is at {commit[:12]}",
                )
            )
    ran, expected = run.provenance.get("code_sha256"), run.provenance.get("tree_sha256")
    if isinstance(ran, str) and isinstance(expected, str) and ran != expected:
        out.append(
            Evidence(
                "provenance.json",
                None,
                None,
                f"the code that ran hashes to {ran[:12]}, the tree to {expected[:12]}",
            )
        )
    return out


def _looks_like_commit(text: str) -> bool:
    return 7 <= len(text) <= 64 and all(c in "0123456789abcdefABCDEF" for c in text)


def _continuations(run: Run) -> list[Evidence]:
    first = run.provenance.get("code_sha256")
    out = []
    resumed = run.provenance.get("resumed")
    for i, entry in enumerate(resumed if isinstance(resumed, list) else []):
        code = entry.get("code_sha256") if isinstance(entry, dict) else None
        if isinstance(code, str) and isinstance(first, str) and code != first:
            out.append(
                Evidence(
                    "provenance.json",
                    None,
                    None,
                    f"continuation {i + 1} ran on other code ({code[:12]}) than the start ({first[:12]})",
                )
            )
    return out


def _configured(run: Run) -> list[Evidence]:
    """Values that were logged, against those that were configured."""
    out = []
    pairs: list[tuple[str, float, str, int | None]] = []
    measured = run.measured_gamma
    if measured is not None:
        pairs.append(("agent.gamma", measured.value, measured.source, None))
    for key, signal in (
        ("agent.actor_lr", networks.RATE["actor"]),
        ("agent.critic_lr", networks.RATE["critic"]),
        ("agent.actor_encoder_lr", networks.RATE["actor_encoder"]),
        ("agent.critic_encoder_lr", networks.RATE["critic_encoder"]),
    ):
        s = run.get(signal)
        if s is not None and s.first.value > 0:
            pairs.append((key, float(s.first.value), s.tag, s.first.step))
    for key, value, source, step in pairs:
        stated = _float(run.config.get(key))
        if stated is not None and not math.isclose(stated, value, rel_tol=5e-3):
            out.append(
                Evidence(
                    source if step is not None else replay.DISCOUNT.tag,
                    step,
                    value,
                    f"config.yaml says {key} = {stated:g}, {source} says {value:g}",
                )
            )
    return out


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _tree(run: Run) -> tuple[list[Evidence], str]:
    """The hash of the code that ran against the tree, where the tree is older than the run."""
    ran = run.provenance.get("code_sha256")
    if not isinstance(ran, str):
        return [], ""
    folders = in_tree(run.tree) if run.tree is not None else installed()
    missing = [name for name in PACKAGES if name not in folders]
    if missing:
        return [], f"no {missing[0]} package to compare with"
    now, compiled, changed = code_state(folders)
    built = run.provenance.get("compiled_sha256")
    same_build = not compiled or not isinstance(built, str) or compiled == built
    if now == ran and (same_build or run.tree is not None):
        return [], "the tree holds the code that ran"
    started, _ = run.wall_span
    if math.isfinite(started) and changed < started:
        when = datetime.fromtimestamp(changed, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        return [
            Evidence(
                "provenance.json",
                None,
                None,
                f"the code that ran hashes to {ran[:12]}; the tree hashes to {now[:12]} and was last changed "
                f"at {when}, before the run began",
            )
        ], ""
    return [], "the tree has changed since the run began, so its code cannot be compared with what ran"


RULE = Rule(
    id="stale-build",
    title="Stale build",
    statement=(
        "A run records the code and the configuration that it ran with. Where they differ from the source "
        "tree of that time, or where logged values differ from configured ones, the run says nothing about "
        "the code in the tree."
    ),
    check=check,
    order=7,
)
