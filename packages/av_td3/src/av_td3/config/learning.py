"""``agent``, ``exploration`` and ``replay``: how the agent learns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from av_td3.config.section import Section


class AgentConfig(Section):
    """TD3 (Fujimoto et al. 2018) on images.  Defaults are the paper's where it has them."""

    encoder: Literal["separate", "shared", "asymmetric", "none"] = "separate"
    """Who has a convolutional encoder.  separate: actor and critic one each, trained by their own losses.
    shared: one for both, trained by the critic's loss; the actor sees its output as a constant.
    asymmetric: the actor alone; the critic judges by the vector (see ``env.observation.privileged``).
    none: nobody looks at the picture."""
    encoder_net: Literal["nature", "small", "tiny"] = "nature"
    """The convolutions.  nature: 32-64-64 channels (Mnih et al. 2015).  small: 16-32-32 channels and
    larger strides: 2.2 million multiply-adds a picture instead of 7.7 million.  tiny: the same channels, the
    first convolution every 6 pixels: 1.0 million."""
    feature_size: int = Field(default=512, ge=8)
    """Length of the encoder's output.  One much longer than the vector makes
    learning from the vector slower (docs/history.md)."""
    feature_norm: Literal["none", "layernorm_tanh"] = "layernorm_tanh"
    """What bounds the encoder's output.  layernorm_tanh: LayerNorm, then tanh, as in DrQ-v2 (Yarats et
    al. 2021).  none: a plain ReLU."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the heads."""
    gamma: float = Field(default=0.99, gt=0, lt=1)
    """Discount factor of one step."""
    tau: float = Field(default=0.005, gt=0, le=1)
    """Polyak factor: the share of a network that its target copy takes over at each policy update."""
    batch_size: int = Field(default=256, ge=1)
    """Transitions in one update."""
    actor_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the actor's head."""
    critic_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the two critic heads."""
    actor_encoder_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the actor's encoder (encoder: separate)."""
    critic_encoder_lr: float = Field(default=3e-4, gt=0)
    """Adam's learning rate of the critic's encoder, or of the shared one."""
    lr_decay_updates: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """From the first of these updates to the second, all learning rates fall linearly to ``lr_decay_to`` of
    themselves, and stay there: a policy that learns at the full rate differs from update to update, and the
    last one is what is kept.  null: the rates stay, as in TD3."""
    lr_decay_to: float = Field(default=0.05, gt=0, le=1)
    """The share of the learning rates that is left after that."""
    policy_delay: int = Field(default=2, ge=1)
    """Updates of the critic for each update of the policy and the targets."""
    policy_noise: float = Field(default=0.2, ge=0)
    """Standard deviation of the noise on the target policy's action (target policy smoothing)."""
    noise_clip: float = Field(default=0.5, ge=0)
    """That noise is clipped to +- this."""
    actor_clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest joint L2 norm of all gradients of the actor's optimiser; larger ones are scaled down.  null: no
    clip."""
    critic_clip_norm: float | None = Field(default=10.0, gt=0)
    """The same for the critic's optimiser."""
    pre_tanh_penalty: float = Field(default=0.01, ge=0)
    """Weight, in the actor loss, of the mean square of the action before its tanh.  It keeps the tanh out of
    saturation, where the gradient vanishes."""
    penalty_scale: Literal["absolute", "q"] = "absolute"
    """Unit of the three weights below.  absolute: 1.  q: the mean |Q| of the batch, so that a penalty weighs
    the same however far Q has grown (as in TD3+BC, Fujimoto and Gu 2021)."""
    action_change_penalty: NonNegativeFloat | tuple[NonNegativeFloat, ...] = 0.0
    """Weight, in the actor loss, of the mean squared change of the policy's action from one step to the
    next (the temporal term of CAPS, Mysore et al. 2021).  0: none, as in TD3; more drives more calmly.  Two
    weights, such as [0.2, 0.04]: one for steering and one for the pedals, so that calm steering leaves room
    to brake hard."""
    imitation: float = Field(default=0.0, ge=0)
    """Initial weight, in the actor loss, of the squared distance to demonstrated actions.  It counts where
    the critic prefers the demonstrated action (Q-filter of Nair et al. 2018).  0: none, as in TD3."""
    state_loss: float = Field(default=0.0, ge=0)
    """Weight, in the actor loss, of an auxiliary task: to read the simulator's state
    (``env.observation.privileged``; as much as a camera can show) from the features of the actor's own
    encoder.  0: none, as in TD3."""
    imitation_updates: int = Field(default=10_000, ge=1)
    """Updates after which that weight has fallen to 0."""
    actor_final_init: float = Field(default=1e-3, gt=0)
    """The actor's last layer starts uniform in +- this, so the first actions are near 0."""
    critic_warmup: int = Field(default=500, ge=0)
    """Updates of the critic alone before the first update of the policy."""
    actor_q: Literal["q1", "min"] = "q1"
    """Which value the actor maximises: q1, as in the paper, or the smaller of the two."""
    actor_q_clamp: float | None = Field(default=None, gt=0)
    """The actor's Q is clamped to +- this.  null: not at all.  Beyond it the policy gets no gradient."""
    critic_layer_norm: bool = False
    """LayerNorm after each hidden layer of the critics (Ball et al. 2023)."""
    critic_batch_norm: bool = False
    """BatchNorm there instead.  The critic learns with the statistics of the batch; it judges the policy's
    action, and its target copies judge, with running ones."""
    random_shift: int = Field(default=0, ge=0, le=16)
    """Each stack of pictures in a batch is shifted at random by up to so many pixels along both axes.  4 in
    DrQ-v2 (Yarats et al. 2021).  0: not."""
    target_q: Literal["min", "q1"] = "min"
    """Which value the Bellman target takes.  min: the smaller of the two, TD3.  q1: the first alone; with
    policy_delay=1 and policy_noise=0 this is DDPG (Lillicrap et al. 2016)."""
    twin_min_weight: float = Field(default=1.0, ge=0.5, le=1)
    """w in the target w * min(Q1, Q2) + (1 - w) * max(Q1, Q2); 1 is TD3."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Arithmetic of the convolutions.  Heads, losses and optimisers are float32 in any case.  auto: bfloat16
    where the processor has it in hardware, a trial at the start shows it faster, and the gradients agree; the
    choice is kept with the run."""
    execution: Literal["eager", "graphs"] = "eager"
    """How an update runs.  eager: operation by operation.  graphs: the whole update as CUDA graphs (GPU)."""

    @model_validator(mode="after")
    def _decay_goes_forward(self) -> AgentConfig:
        if self.lr_decay_updates is not None and self.lr_decay_updates[0] >= self.lr_decay_updates[1]:
            raise ValueError(
                "lr_decay_updates needs a first update below its second, such as [90000, 100000]"
            )
        return self

    @model_validator(mode="after")
    def _one_normalisation(self) -> AgentConfig:
        if self.critic_batch_norm and self.critic_layer_norm:
            raise ValueError("give critic_layer_norm or critic_batch_norm, not both")
        if self.critic_batch_norm and self.batch_size < 2:
            raise ValueError("critic_batch_norm needs a batch_size of 2 or more")
        return self


class ExplorationConfig(Section):
    """Actions while collecting data."""

    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the Gaussian noise on the policy's action once the decay is over."""
    initial_noise: float = Field(default=0.3, ge=0)
    """The same when the policy takes over from the warm-up."""
    noise_decay_steps: int = Field(default=10_000, ge=1)
    """Environment steps in which the noise falls from initial_noise to noise, linearly."""
    warmup_steps: int = Field(default=1_000, ge=0)
    """Steps before the policy takes over.  Who drives them: ``warmup_driver``."""
    warmup_driver: Literal["random", "classical"] = "random"
    """Who drives the warm-up.  random: autocorrelated noise; the agent learns from its own driving alone.
    classical: the classical driver (pure pursuit and PID), whose episodes are demonstrations."""
    demonstration_noise: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 0.1, 0.3), min_length=1)
    """Standard deviations of the noise on the classical driver's actions, taken in turn, one an episode:
    noise takes the car off the lane's centre, and so the replay shows how to come back."""
    noise_correlation: float = Field(default=0.0, ge=0, lt=1)
    """Correlation of the noise from one step to the next; 0 is the paper's white noise."""
    warmup_noise: float = Field(default=0.4, ge=0)
    """Standard deviation of the actions of random driving (warmup_driver: random)."""
    warmup_correlation: float = Field(default=0.9, ge=0, lt=1)
    """Correlation of these actions from one step to the next.  At 20 steps a second white noise averages out
    before the car moves."""
    warmup_throttle_mean: float = Field(default=0.3, ge=-1, le=1)
    """Mean of the throttle in random driving: above 0, since a car that stands shows nothing."""


class ReplayConfig(Section):
    """The replay memory."""

    capacity: int = Field(default=100_000, ge=100)
    """Observations kept, about 7.3 kB each with pictures of 84 x 84; the oldest are overwritten."""
    device: Literal["auto", "cpu", "train"] = "auto"
    """Where batches are stacked.  cpu: in the host's memory.  train: on the device of the training, where the
    frames then lie as well (7.1 GB a million).  auto: train on a GPU, else cpu."""
    prefetch: bool | Literal["auto"] = "auto"
    """Whether a thread prepares the next batch (drawing, stacking, copying to the device) while an update
    computes.  The newest transitions are then drawn from one update later.  auto: on a GPU."""
    n_step: int = Field(default=1, ge=1, le=10)
    """Steps of reward in the Bellman target before it bootstraps; 1 is the paper's."""
