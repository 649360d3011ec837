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


@dataclass(frozen=True)
class PendingReport(GradientReport):
    """A report whose figures are still being computed on the device; :meth:`resolved` waits for them."""

    names: tuple[str, ...]
    """Of the groups."""
    norms_before: Tensor
    """The norm of each group, then that of all together."""
    norms_after: Tensor

    @property
    def not_finite(self) -> Tensor:
        """0-d: 1.0 where the optimiser must not use the gradients, else 0.0."""
        return (~torch.isfinite(self.norms_before[-1])).float()

    def resolved(self) -> GradientReport:
        """The report.

        Raises:
            NonFiniteGradientError, ClipDidNotHoldError: as of :func:`clip_gradients`.
        """
        before, after = torch.stack([self.norms_before, self.norms_after]).tolist()
        return _checked(self.names, before, after, self.limit)


def l2_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of all gradients together, a 0-d tensor; a missing gradient counts as zero."""
    parameters = list(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=parameters[0].device if parameters else None)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip_gradients(groups: Mapping[str, list[nn.Parameter]], limit: float | None) -> GradientReport:
    """Scale all gradients of all groups so that their joint L2 norm is at most ``limit``.

    Same rule as ``torch.nn.utils.clip_grad_norm_``, but measured per group on both sides.

    Raises:
        NonFiniteGradientError: a NaN or an infinity; call this before the optimiser's step.
        ClipDidNotHoldError: the measured norm afterwards exceeds the limit (by more than rounding).
    """
    before = after = _norms(groups).tolist()
    total = before[-1]
    if limit is not None and limit < total < math.inf:
        torch._foreach_mul_(_gradients(groups), limit / (total + 1e-6))
        after = _norms(groups).tolist()
    return _checked(tuple(groups), before, after, limit)


def clip_without_waiting(groups: Mapping[str, list[nn.Parameter]], limit: float | None) -> PendingReport:
    """The same on a GPU without a look at any value, so that Python need not wait and a graph can record it.

    The caller keeps the optimiser from using gradients that are ``not_finite``.
    """
    before = after = _norms(groups)
    if limit is not None:
        torch._foreach_mul_(_gradients(groups), (limit / (before[-1] + 1e-6)).clamp(max=1.0))
        after = _norms(groups)
    return PendingReport({}, {}, math.nan, math.nan, limit, tuple(groups), before, after)


def _checked(
    names: tuple[str, ...], before: list[float], after: list[float], limit: float | None
) -> GradientReport:
    """The report of these norms, each list with that of all groups together at its end."""
    *each_before, total_before = before
    *each_after, total_after = after
    if not math.isfinite(total_before):
        bad = [name for name, norm in zip(names, each_before, strict=True) if not math.isfinite(norm)]
        raise NonFiniteGradientError(f"non-finite gradient: {', '.join(bad) or 'joint norm'}")
    if limit is not None and total_after > limit * 1.001:
        raise ClipDidNotHoldError(f"gradient norm {total_after:.6g} after clipping to {limit:g}")
    groups_before, groups_after = (
        dict(zip(names, norms, strict=True)) for norms in (each_before, each_after)
    )
    return GradientReport(groups_before, groups_after, total_before, total_after, limit)


def _gradients(groups: Mapping[str, list[nn.Parameter]]) -> list[Tensor]:
    return [p.grad for group in groups.values() for p in group if p.grad is not None]


def _norms(groups: Mapping[str, list[nn.Parameter]]) -> Tensor:
    """The norm of each group, then that of all together."""
    norms = torch.stack([l2_norm(group) for group in groups.values()])
    return torch.cat([norms, torch.linalg.vector_norm(norms)[None]])
