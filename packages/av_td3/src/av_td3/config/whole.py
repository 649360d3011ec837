"""The whole configuration of a run, and what its sections ask of each other."""

from __future__ import annotations

import yaml
from pydantic import ValidationError, model_validator

from av_td3.config.driving import ACTION_SIZE, EnvConfig
from av_td3.config.learning import AgentConfig, ExplorationConfig, ReplayConfig
from av_td3.config.running import EvaluationConfig, TrainConfig
from av_td3.config.section import Section, merge

TINY_NEEDS = 44
"""The least pixels along each side of a picture for the three convolutions of ``encoder_net: tiny``."""


class Config(Section):
    """Everything that determines a run."""

    env: EnvConfig = EnvConfig()
    """The driving environment."""
    agent: AgentConfig = AgentConfig()
    """Networks and their update."""
    exploration: ExplorationConfig = ExplorationConfig()
    """How actions are chosen to collect data."""
    replay: ReplayConfig = ReplayConfig()
    """What is remembered."""
    train: TrainConfig = TrainConfig()
    """The run."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluations, while training and at the end."""

    @model_validator(mode="after")
    def _batch_fits_into_replay(self) -> Config:
        if self.agent.batch_size > self.replay.capacity:
            raise ValueError(
                f"agent.batch_size ({self.agent.batch_size}) is larger than replay.capacity "
                f"({self.replay.capacity}): a batch would hold the same transitions several times"
            )
        return self

    @model_validator(mode="after")
    def _picture_fits_the_encoder(self) -> Config:
        size = self.env.camera.size
        if self.agent.encoder_net == "tiny" and self.agent.encoder != "none" and size < TINY_NEEDS:
            raise ValueError(
                f"agent.encoder_net=tiny needs pictures of at least {TINY_NEEDS} x {TINY_NEEDS} pixels, and "
                f"env.camera.size is {size}: make that larger, or set agent.encoder_net=small"
            )
        return self

    @model_validator(mode="after")
    def _penalty_fits_the_action(self) -> Config:
        weights = self.agent.action_change_penalty
        if isinstance(weights, tuple) and len(weights) != ACTION_SIZE:
            raise ValueError(
                f"agent.action_change_penalty has {len(weights)} weights: give one for all, or two, for "
                "steering and for the pedals"
            )
        return self

    @model_validator(mode="after")
    def _critic_sees_enough(self) -> Config:
        observation, agent = self.env.observation, self.agent
        if observation.privileged:
            if agent.state_loss and agent.encoder not in ("separate", "asymmetric"):
                raise ValueError(
                    f"agent.state_loss trains an encoder of the actor's own; agent.encoder={agent.encoder} "
                    "has none: set agent.encoder=asymmetric (or separate)"
                )
        elif agent.state_loss:
            raise ValueError("agent.state_loss needs the state to read: set env.observation.privileged=true")
        elif observation.vector == "sight" and agent.encoder in ("asymmetric", "none"):
            raise ValueError(
                f"env.observation.vector=sight leaves the lane to the picture, and with agent.encoder="
                f"{agent.encoder} the critic sees no picture: set env.observation.privileged=true"
            )
        return self

    @model_validator(mode="after")
    def _environments_can_be_served(self) -> Config:
        envs, address = self.train.envs, self.env.simulator.address
        if envs > 1 and address is not None:
            raise ValueError(
                f"train.envs ({envs}) is more than the CARLA server at {address} can serve: a server has one "
                "clock, and so one environment at a time.  Train with one, or give no address: minicarla or "
                "env.simulator.command then starts a server for each"
            )
        if len(self.train.maps) > envs:
            raise ValueError(
                f"train.maps names {len(self.train.maps)} maps for {envs} environment(s), each of which "
                f"keeps its map: set train.envs={len(self.train.maps)} or more, or name fewer"
            )
        if self.replay.capacity < 100 * envs:
            raise ValueError(
                f"replay.capacity ({self.replay.capacity}) is below 100 for each of {envs} environments"
            )
        return self

    @model_validator(mode="after")
    def _evaluations_suit_the_agent(self) -> Config:
        why_not = self.env.why_not_driven_in(self.for_evaluation().env)
        if why_not:
            raise ValueError(f"evaluation.env.{why_not}")
        return self

    def for_evaluation(self) -> Config:
        """This configuration with ``evaluation.env`` merged into its ``env``, and the training's units."""
        tree = self.env.with_units().model_dump()
        merge(tree, self.evaluation.env)
        try:
            env = EnvConfig.model_validate(tree)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, ("evaluation.env", *first["loc"])))
            raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
        evaluation = self.evaluation.model_copy(update={"env": {}})
        return self.model_copy(update={"env": env, "evaluation": evaluation})

    def to_yaml(self) -> str:
        """The whole configuration, every key written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
