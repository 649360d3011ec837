"""True gradient norms, before and after the clip, group by group.

A norm here is the L2 norm of all gradients of a group together.  The *sum* of the norms of n tensors,
which is sometimes logged in its place, lies anywhere in [c, c * sqrt(n)] after a joint clip to c, and so
looks as if the clip had failed.  A clip that really does not hold raises an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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


class PendingReport(GradientReport):
    """A report whose figures are still being computed on the device; :meth:`resolved` waits for them."""

    def __init__(self, names: Sequence[str], before: Tensor, after: Tensor, limit: float | None) -> None:
        """``before`` and ``after``: the norm of each group, then that of all together."""
        super().__init__({}, {}, math.nan, math.nan, limit)
        object.__setattr__(self, "_pending", (tuple(names), before, after))

    @property
    def not_finite(self) -> Tensor:
        """0-d: 1.0 where the optimiser must not use the gradients, else 0.0."""
        before: Tensor = self._pending[1]  # type: ignore[attr-defined]
        return (~torch.isfinite(before[-1])).float()

    def resolved(self) -> GradientReport:
        """The report.

        Raises:
            NonFiniteGradientError, ClipDidNotHoldError: as of :func:`clip_gradients`.
        """
        names, *norms = self._pending  # type: ignore[attr-defined]
        before, after = torch.stack(norms).tolist()
        report = GradientReport(
            dict(zip(names, before, strict=False)),
            dict(zip(names, after, strict=False)),
            before[-1],
            after[-1],
            self.limit,
        )
        _check(report)
        return report


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
    before, total_before = _norms(groups)
    after, total_after = before, total_before
    if limit is not None and limit < total_before < math.inf:
        scale = limit / (total_before + 1e-6)
        torch._foreach_mul_(_gradients(groups), scale)
        after, total_after = _norms(groups)
    report = GradientReport(before, after, total_before, total_after, limit)
    _check(report)
    return report


def clip_without_waiting(groups: Mapping[str, list[nn.Parameter]], limit: float | None) -> PendingReport:
    """The same on a GPU without a look at any value, so that Python need not wait and a graph can record it.

    The caller keeps the optimiser from using gradients that are ``not_finite``.
    """
    before = after = _norm_tensor(groups)
    if limit is not None:
        torch._foreach_mul_(_gradients(groups), (limit / (before[-1] + 1e-6)).clamp(max=1.0))
        after = _norm_tensor(groups)
    return PendingReport(tuple(groups), before, after, limit)


def _check(report: GradientReport) -> None:
    if not math.isfinite(report.total_before):
        bad = [name for name, norm in report.before.items() if not math.isfinite(norm)]
        raise NonFiniteGradientError(f"non-finite gradient: {', '.join(bad) or 'joint norm'}")
    if report.limit is not None and report.total_after > report.limit * 1.001:
        raise ClipDidNotHoldError(
            f"gradient norm {report.total_after:.6g} after clipping to {report.limit:g}"
        )


def _gradients(groups: Mapping[str, list[nn.Parameter]]) -> list[Tensor]:
    return [p.grad for group in groups.values() for p in group if p.grad is not None]


def _norms(groups: Mapping[str, list[nn.Parameter]]) -> tuple[dict[str, float], float]:
    values = _norm_tensor(groups).tolist()
    return dict(zip(groups, values, strict=False)), values[-1]


def _norm_tensor(groups: Mapping[str, list[nn.Parameter]]) -> Tensor:
    """The norm of each group, then that of all together."""
    norms = torch.stack([l2_norm(group) for group in groups.values()])
    return torch.cat([norms, torch.linalg.vector_norm(norms)[None]])
