"""The signals of a training run: one table for everything that writes, judges or explains them.

A signal is one quantity of a run.  The table says its canonical name, av-td3's tag, its meaning, its
unit, what is healthy, and the tags under which other systems log it.  Everything takes its tags from
here: what av-td3 logs, its alerts and gates, rundoctor's rules and check-list, and docs/metrics.md.

The signals stand in one module a family::

    from rundoctor.signals import critic, gradients

    critic.LOSS.tag                          # "train/critic_loss"
    critic.Q1.std.tag                        # "debug/q1_std"
    gradients.BEFORE["actor_head"].tag       # "gradients/actor_head_norm_before_clip"
    run.get(critic.LOSS)                     # the series, under whatever tag the run's system has

To add a signal, add it to its family; to teach rundoctor another system's tag, add it to the signal's
``aliases``.  Then run ``python -m tools.metrics_page``, which makes docs/metrics.md from the table.
"""

from __future__ import annotations

from .algorithms import algorithm_of
from .model import Alias, Moments, Signal
from .systems import EPISODE_NAMES, clock, normalised, system_of, x_axis
from .table import BY_NAME, FAMILIES, OWN, SIGNALS, known_as, lookup, signal_of
from .words import EVALUATION_WORDS, is_of_evaluation

__all__ = [
    "BY_NAME",
    "EPISODE_NAMES",
    "EVALUATION_WORDS",
    "FAMILIES",
    "OWN",
    "SIGNALS",
    "Alias",
    "Moments",
    "Signal",
    "algorithm_of",
    "clock",
    "is_of_evaluation",
    "known_as",
    "lookup",
    "normalised",
    "signal_of",
    "system_of",
    "x_axis",
]
