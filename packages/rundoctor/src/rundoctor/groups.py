"""Gradient and movement of each parameter group; three rules judge them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .model import Evidence
from .run import Run
from .series import Series
from .signals import gradients, networks

LEAST = 5


@dataclass(frozen=True)
class ParameterGroup:
    """One parameter group over the rows in which its gradient was logged."""

    key: str
    gradient: Series
    moves: bool | None
    """Whether its weights ever change between rows; None when they are not logged."""
    moves_late: bool | None
    """Whether they still change in the second half of the rows."""

    @property
    def name(self) -> str:
        return self.key.replace("_", " ")

    @property
    def silent(self) -> bool:
        """Its gradient is exactly 0 on every row."""
        return bool((self.gradient.value == 0).all())


def groups(run: Run) -> list[ParameterGroup]:
    """The groups that are trained and whose gradient is logged on at least ``LEAST`` rows."""
    out = []
    for key in gradients.GROUPS:
        gradient = run.get(gradients.BEFORE[key], gradients.AFTER[key])
        if gradient is not None and len(gradient) >= LEAST and not trained_elsewhere(run, key):
            out.append(
                ParameterGroup(
                    key, gradient, _moves(run, key, gradient), _moves(run, key, gradient, late=True)
                )
            )
    return out


def trained_elsewhere(run: Run, key: str) -> bool:
    """Whether a group has no gradient of its own: the critic trains a shared encoder, some agents have "
    "none."""
    encoder = run.config.get("agent.encoder")
    if encoder == "none" and key.endswith("_encoder"):
        return True
    if encoder == "asymmetric" and key == "critic_encoder":
        return True
    rate = run.get(networks.RATE["actor_encoder"])
    return key == "actor_encoder" and (encoder == "shared" or (rate is not None and rate.last.value == 0))


def _moves(run: Run, key: str, gradient: Series, late: bool = False) -> bool | None:
    seen = False
    for s in (run.get(networks.WEIGHT_MEAN[key]), run.get(networks.WEIGHT_STD[key])):
        if s is None:
            continue
        value = s.value[s.step >= gradient.step[0]]
        if len(value) < LEAST:
            continue
        seen = True
        if late:
            value = value[len(value) // 2 :]
        if float(value.max() - value.min()) > 1e-6 * max(float(np.abs(value).max()), 1e-12):
            return True
    return False if seen else None


def weights_evidence(run: Run, key: str, text: str) -> Evidence:
    """Evidence: the first and the last standard deviation of a group's weights."""
    s = run.get(networks.WEIGHT_STD[key], networks.WEIGHT_MEAN[key])
    if s is None:
        return Evidence(key, None, None, text)
    figures = f"{s.tag} {s.first.value:.6g} -> {s.last.value:.6g}"
    return Evidence(s.tag, s.last.step, s.last.value, f"{text}: {figures}")
