"""Comparing the configuration that is asked for with the one that a run was made with."""

from __future__ import annotations

from typing import Any

from av_td3.config.section import flat
from av_td3.config.whole import Config


def with_measured(wanted: Config, stored: Config) -> Config:
    """``wanted``, with what a run has measured and stored in place of each ``auto``.

    A run replaces ``auto`` by its choice before it stores its configuration
    (``av_td3.training.arithmetic.measured``).  So the same settings, given once more, differ from the stored
    ones in that; and measured anew they could differ from those that the run has computed with.
    """
    agent, train = wanted.agent, wanted.train
    if agent.precision == "auto":
        agent = agent.model_copy(update={"precision": stored.agent.precision})
    if train.threads == 0:  # auto
        train = train.model_copy(update={"threads": stored.train.threads})
    return wanted.model_copy(update={"agent": agent, "train": train})


def differences(stored: Config, wanted: Config, *ignored: str) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, each with its two values, by key such as ``train.seed``.

    What was measured where ``wanted`` says ``auto`` is no difference; nor is a key of ``ignored``.
    """
    wanted = with_measured(wanted, stored)
    one, other = flat(stored.model_dump(mode="json")), flat(wanted.model_dump(mode="json"))
    return {
        key: (one.get(key), other.get(key))
        for key in [*one, *(key for key in other if key not in one)]
        if one.get(key) != other.get(key) and key not in ignored
    }
