"""True gradient norms, before and after the clip, group by group.

A norm here is the L2 norm of all gradients of a group together.  The *sum* of the norms of n tensors,
which is sometimes logged in its place, lies anywhere in [c, c * sqrt(n)] after a joint clip to c, and so
looks as if the clip had failed.  A clip that really does not hold raises an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class ClipDidNotHoldError(RuntimeError):
    """After clipping, the joint gradient norm is still above the limit."""


class NonFiniteGradientError(RuntimeError):
    """A gradient is NaN or infinite; the optimiser has not used it, so the weights are still good."""


@dataclass(frozen=True)
class GradientReport:
    """L2 norms of one optimiser's gradients; ``groups`` keep the order they were given in."""

    before: dict[str, float]
    after: dict[str, float]
    total_before: float
    total_after: float
    limit: float | None

    @property
    def clip_ratio(self) -> float:
        """total_before / limit; above 1 the clip was active.  0 without a limit."""
        return self.total_before / self.limit if self.limit else 0.0


def l2_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of all gradients together, a 0-d tensor; a missing gradient counts as zero."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_gradients(groups: Mapping[str, list[nn.Parameter]], limit: float | None) -> GradientReport:
    """Scale all gradients of all groups so that their joint L2 norm is at most ``limit``.

    Same rule as ``torch.nn.utils.clip_grad_norm_``, but measured per group on both sides.

    Raises:
        NonFiniteGradientError: a NaN or an infinity; call this before the optimiser's step.
        ClipDidNotHoldError: the measured norm afterwards exceeds the limit (by more than rounding).
    """
    before, total_before = _norms(groups)
    if not math.isfinite(total_before):
        bad = [name for name, norm in before.items() if not math.isfinite(norm)]
        raise NonFiniteGradientError(f"non-finite gradient: {', '.join(bad) or 'joint norm'}")
    after, total_after = before, total_before
    if limit is not None and total_before > limit:
        scale = limit / (total_before + 1e-6)
        gradients = [p.grad for group in groups.values() for p in group if p.grad is not None]
        torch._foreach_mul_(gradients, scale)
        after, total_after = _norms(groups)
        if total_after > limit * 1.001:
            raise ClipDidNotHoldError(f"gradient norm {total_after:.6g} after clipping to {limit:g}")
    return GradientReport(before, after, total_before, total_after, limit)


def _norms(groups: Mapping[str, list[nn.Parameter]]) -> tuple[dict[str, float], float]:
    norms = torch.stack([l2_norm(group) for group in groups.values()])
    total = torch.linalg.vector_norm(norms)
    values = torch.cat([norms, total[None]]).tolist()
    return dict(zip(groups, values, strict=False)), values[-1]
