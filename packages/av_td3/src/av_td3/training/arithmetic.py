"""Arithmetic and threads of a run, measured on the machine that it starts on.

``agent.precision: auto`` and ``train.threads: auto`` are replaced by what was chosen before the run
directory is written, so a run that is resumed computes as it did before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from av_td3.agent.td3 import TD3, Batch
from av_td3.config import ACTION_SIZE, Config, ConfigError
from av_td3.training import agents

Precision = Literal["float32", "bfloat16"]

ALIKE = 0.99
"""Cosine between gradients in bfloat16 and float32, of any group, below which bfloat16 is not taken."""
GAIN = 1.1
"""How many times as fast as the plain choice another one must be to be taken."""
SECONDS = 1.5
"""For which the contenders of one choice take turns."""


class PrecisionFigures(NamedTuple):
    """bfloat16 beside float32 on one batch."""

    speed: float
    """Updates in the time of one in float32."""
    cosine: float
    """Smallest cosine between the gradients of a group of parameters."""


def measured(config: Config, tell: Callable[[str], None]) -> Config:
    """The configuration with every ``auto`` of arithmetic and threads replaced by a choice.

    ``tell`` gets a line on each choice and its reason, and a warning where bfloat16 was asked for and the
    processor has no instructions for it.

    Raises:
        ConfigError: the device does not exist, or has no graphs and they are asked for.
    """
    agent, train = config.agent, config.train
    device = agents.resolve_device(train.device)
    on_cpu = device.type == "cpu"
    if agent.execution == "graphs" and device.type != "cuda":
        raise ConfigError(
            f"agent.execution = 'graphs' needs a GPU, and train.device is {device}: set agent.execution=eager"
        )
    if train.threads == 0:
        threads, why = best_threads(config) if on_cpu else (None, "the update runs on a GPU")
        tell(f"threads: {threads or 'as torch chooses'}: {why}")
        config = config.model_copy(update={"train": train.model_copy(update={"threads": threads})})
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    if agent.precision == "auto":
        precision, why = best_precision(config) if on_cpu else ("float32", "bfloat16 was not tried on a GPU")
        tell(f"precision: {precision}: {why}")
        config = config.model_copy(update={"agent": agent.model_copy(update={"precision": precision})})
    elif agent.precision == "bfloat16" and on_cpu and not has_bfloat16():
        speed = compare_precisions(config).speed
        factor = f"an update takes {1 / speed:.1f} times as long as in float32"
        tell(f"warning: this processor emulates bfloat16: {factor}")
    return config


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 (AVX512-BF16 or AMX) and torch may use them."""
    allowed = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(allowed and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()))


def best_precision(config: Config) -> tuple[Precision, str]:
    """The arithmetic of the convolutions, and the reason for it."""
    if not has_bfloat16():
        return "float32", "the processor has no instructions for bfloat16"
    speed, cosine = compare_precisions(config)
    figures = f"bfloat16 makes x{speed:.2f} the updates, cosine of the gradients {cosine:.4f}"
    return "bfloat16" if speed >= GAIN and cosine >= ALIKE else "float32", figures


def compare_precisions(config: Config) -> PrecisionFigures:
    """Update two agents with the same weights, one in bfloat16, on the same batch."""
    batch = random_batch(config)
    twins: list[TD3] = []
    for precision in ("float32", "bfloat16"):
        agent = config.agent.model_copy(update={"precision": precision, "critic_warmup": 0})
        twins.append(agents.make_agent(config.model_copy(update={"agent": agent})))
    for twin in twins:
        torch.manual_seed(0)  # the noise on the target's action
        for _ in range(twin.config.policy_delay):
            twin.update(batch)
    plain, other = (_gradients(twin) for twin in twins)
    cosine = min(float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(plain, other, strict=True))
    seconds = quickest([_updating(twin, batch) for twin in twins])
    return PrecisionFigures(seconds[0] / seconds[1], cosine)


def best_threads(config: Config) -> tuple[int, str]:
    """Threads of one operation, and the reason for them.  Each simulator keeps a core to itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = max(1, cores - config.train.envs)
    if free == 1:
        return 1, f"{cores} cores, of which the simulators have {config.train.envs}"
    numbers = sorted({1, *(2**k for k in range(1, 5) if 2**k <= free), min(free, 16)})
    agent, batch, before = agents.make_agent(config), random_batch(config), torch.get_num_threads()
    update = _updating(agent, batch)

    def with_threads(number: int) -> Callable[[], None]:
        def work() -> None:
            torch.set_num_threads(number)
            update()

        return work

    try:
        seconds = quickest([with_threads(number) for number in numbers])
    finally:
        torch.set_num_threads(before)
    chosen = 0
    for k in range(1, len(numbers)):
        if seconds[chosen] >= GAIN * seconds[k]:
            chosen = k
    times = ", ".join(f"{n}: {1e3 * s:.1f} ms" for n, s in zip(numbers, seconds, strict=True))
    return numbers[chosen], f"an update takes with {times}"


def quickest(works: Sequence[Callable[[], None]], budget: float = SECONDS) -> list[float]:
    """Seconds of the quickest call of each; they take turns, twice at least, for about ``budget`` seconds."""
    best = [float("inf")] * len(works)
    end, rounds = time.perf_counter() + budget, 0
    while rounds < 2 or time.perf_counter() < end:
        rounds += 1
        for k, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[k] = min(best[k], time.perf_counter() - start)
    return best


def random_batch(config: Config) -> Batch:
    """A batch of noise of the shapes that the configuration gives, on its device."""
    generator = torch.Generator().manual_seed(0)
    b, v, shape = config.agent.batch_size, config.env.vector_size, agents.image_shape(config)
    device = agents.resolve_device(config.train.device)

    def image() -> torch.Tensor:
        return torch.randint(0, 256, (b, *shape), dtype=torch.uint8, generator=generator).to(device)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator).to(device)

    return Batch(
        image(),
        normal(b, v),
        normal(b, ACTION_SIZE).tanh(),
        normal(b),
        torch.full((b,), config.agent.gamma, device=device),
        image(),
        normal(b, v),
        torch.zeros(b, dtype=torch.bool, device=device),
    )


def _updating(agent: TD3, batch: Batch) -> Callable[[], None]:
    def work() -> None:
        for _ in range(agent.config.policy_delay):
            agent.update(batch)

    return work


def _gradients(agent: TD3) -> list[torch.Tensor]:
    groups = [*agent.critic_groups.values(), *agent.actor_groups.values()]
    return [torch.cat([p.grad.flatten() for p in group if p.grad is not None]) for group in groups]
