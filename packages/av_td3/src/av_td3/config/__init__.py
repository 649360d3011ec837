"""The configuration: typed, frozen, validated.  The text under each key gives its unit and its effect.

A run is described by one :class:`Config`.  It starts from a preset (a YAML file
in ``presets/``), is changed by ``--set section.key=value``, and the one that ran
is written into the run directory.  Unknown keys are errors.

``env`` stands in ``driving.py`` and ``simulator.py``; ``agent``, ``exploration`` and ``replay`` in
``learning.py``; ``train`` and ``evaluation`` in ``running.py``; all together in ``whole.py``.  ``loading.py``
reads presets, files and overrides, ``messages.py`` says what is wrong with them, and ``comparing.py`` in what
two configurations differ.
"""

from av_td3.config.comparing import differences, with_measured
from av_td3.config.driving import (
    ACTION_SIZE,
    NEIGHBOURS,
    STEP_SECONDS,
    CameraConfig,
    EnvConfig,
    ObservationConfig,
    RewardConfig,
    RouteConfig,
    Split,
    TerminationConfig,
    Weather,
)
from av_td3.config.learning import AgentConfig, ExplorationConfig, ReplayConfig
from av_td3.config.loading import (
    config_from_dict,
    load_config,
    overridden,
    preset_names,
    preset_summary,
    preset_text,
)
from av_td3.config.messages import ConfigError, explain
from av_td3.config.running import EvaluationConfig, Pictures, TrackerName, TrainConfig
from av_td3.config.section import Section, flat
from av_td3.config.simulator import SimulatorConfig, parse_address
from av_td3.config.whole import Config

__all__ = [
    "ACTION_SIZE",
    "NEIGHBOURS",
    "STEP_SECONDS",
    "AgentConfig",
    "CameraConfig",
    "Config",
    "ConfigError",
    "EnvConfig",
    "EvaluationConfig",
    "ExplorationConfig",
    "ObservationConfig",
    "Pictures",
    "ReplayConfig",
    "RewardConfig",
    "RouteConfig",
    "Section",
    "SimulatorConfig",
    "Split",
    "TerminationConfig",
    "TrackerName",
    "TrainConfig",
    "Weather",
    "config_from_dict",
    "differences",
    "explain",
    "flat",
    "load_config",
    "overridden",
    "parse_address",
    "preset_names",
    "preset_summary",
    "preset_text",
    "with_measured",
]
