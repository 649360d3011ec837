"""What there is to say of a run's agent when it is passed on: how it came to be, and what was measured."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from av_td3.training import checkpoint, policies, shipped
from av_td3.training.run_directory import RunDirectory, write_atomically
from av_td3.training.shipped import Figures, Measured, ShippedAgent, ShippedAgentError, Training
from av_td3.training.sources import AgentSource, find_agent

CARD = "README.md"
"""The model card in a run directory, where model hubs look for it."""


def final_agent(path: str | Path, which: str | None = None) -> AgentSource:
    """The agent that ``which`` names; without it the one that the run's final evaluation drove.

    Raises:
        ShippedAgentError, RunError, CheckpointError: there is no such agent.
    """
    source = find_agent(path, which)
    run = source.run
    if which is not None or run is None or not source.config.evaluation.keep_best:
        return source
    return find_agent(path, "best") if (run.policies / policies.BEST).is_file() else source


def training_of(source: AgentSource, run: RunDirectory) -> Training:
    """How the agent of a run came to be."""
    state, provenance = checkpoint.describe(source.folder), _provenance(run)
    command = [str(word) for word in provenance.get("command") or []]
    simulator = source.config.env.simulator
    maps = source.config.train.maps or [simulator.map]
    hardware: dict[str, Any] = dict(provenance.get("hardware") or {})
    hardware.pop("platform", None)
    minutes = run.status().get("minutes")
    git = provenance.get("git") or {}
    return {
        "steps": state["step"],
        "updates": state["updates"],
        "minutes": None if minutes is None else float(minutes),
        "preset": _preset(command),
        "seed": source.config.train.seed,
        "map": ", ".join(Path(name).name for name in maps),
        "npc": simulator.npc,
        "hardware": hardware,
        "versions": dict(provenance.get("versions") or {}),
        "code_sha256": run.code_sha256(),
        "checkpoint": source.folder.name,
        "checkpoint_sha256": source.sha256,
        "command": [Path(word).name if i == 0 else word for i, word in enumerate(command)],
        "commit": f"{git['commit']}{', changed' if git.get('dirty') else ''}" if git.get("commit") else None,
    }


def _preset(command: Sequence[str]) -> str | None:
    """The preset with which ``av-td3 train`` began; None beside a file of settings and of other commands."""
    given = {}
    for word, following in itertools.pairwise([*command, ""]):
        name, equals, value = word.partition("=")
        given[name] = value if equals else following
    if "--config" in given or command[1:2] != ["train"]:
        return None
    return given.get("--preset", "quick")


def evaluations_of(run: RunDirectory, sha256: str) -> list[Measured]:
    """Every evaluation below the run that drove the agent with this hash, the oldest first."""
    return [figures for figures, _ in _evaluated(run, sha256)]


def film_of(run: RunDirectory, sha256: str) -> Path | None:
    """The oldest film below the run of the agent with this hash, as it drives by its camera."""
    for figures, film in _evaluated(run, sha256):
        if figures["conditions"].get("picture", "camera") == "camera" and film.is_file():
            return film
    return None


def _evaluated(run: RunDirectory, sha256: str) -> Iterator[tuple[Measured, Path]]:
    """The evaluations, and where the film of each lies if one was made."""
    films = {run.evaluations / "final.json": run.videos / "final.mp4"}
    films |= {file: file.with_name("film.mp4") for file in sorted(run.evaluations.glob("*/evaluation.json"))}
    for file, film in films.items():
        try:
            figures = shipped.measured(json.loads(file.read_text()))
        except (OSError, ValueError, ShippedAgentError):
            continue  # not there, or of another version
        if figures["conditions"].get("agent_sha256") == sha256:
            yield figures, film


def about(training: Training) -> str:
    """One sentence: what the agent is."""
    preset = f"the preset `{training['preset']}`" if training["preset"] else "its configuration"
    return f"Drives a route in CARLA by a front camera; trained with {preset} of av-td3."


def limits_of(source: AgentSource) -> list[str]:
    """What the agent cannot do, as far as that follows from how it was trained."""
    limits = []
    fault = source.run.injected_fault() if source.run is not None else None
    if fault is not None:
        limits.append(f"It was trained with the fault {fault!r}, injected on purpose.")
    simulator = source.config.env.simulator
    if not simulator.npc:
        limits.append("It was trained on an empty road, and has not learned to mind other vehicles.")
    if simulator.is_minicarla:
        limits.append("It was trained on minicarla's pictures only.")
    return limits


def write_run_card(run: RunDirectory, source: AgentSource) -> Path:
    """Write the model card of a run's agent into the run directory.

    Raises:
        OSError: it cannot be written.
    """
    agent = source.load()
    training = training_of(source, run)
    figures: Figures = {
        "format": shipped.FORMAT,
        "name": run.path.name,
        "about": about(training),
        "limits": limits_of(source),
        "averaged": source.averaged,
        "policy_sha256": source.sha256,
        "training": training,
        "evaluations": evaluations_of(run, source.sha256),
    }
    weights = sum(tensor.numel() for tensor in shipped.policy_tensors(agent, source.averaged).values())
    film = film_of(run, source.sha256)
    text = shipped.card(
        ShippedAgent(run.path, source.config, figures),
        weights=weights,
        commands=[f"av-td3 evaluate {run.path}", f"av-td3 export {run.path} FOLDER"],
        film=None if film is None else str(film.relative_to(run.path)),
    )
    write_atomically(run.path / CARD, text)
    return run.path / CARD


def _provenance(run: RunDirectory) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((run.path / "provenance.json").read_text())
    except (OSError, ValueError):
        return {}
    return document
