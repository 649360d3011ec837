"""Counts the multiply-adds of an update by pass and layer, and times each of its operations alone.

The speed of the operations alone is what the update could reach if everything else in it cost nothing.  Times
are processor seconds, the best of several: on a busy machine they show what the processor can do, and
wall-clock time does not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from av_td3.agent.networks import HAS_ONEDNN
from av_td3.agent.td3 import TD3, Batch

PASSES = {"_bellman": "target", "_update_critic": "critic", "_update_actor": "actor"}
"""Methods of :class:`TD3` whose work is counted separately."""


def _linear_flop(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.shape[0] * weight.numel()


FORMULAS = dict(flop_registry)
"""Operator -> floating-point operations of a call: torch's table, and oneDNN's product."""
if HAS_ONEDNN:
    FORMULAS[torch.ops.mkldnn._linear_pointwise] = _linear_flop


@dataclass(frozen=True)
class Operation:
    """One kind of matrix product or convolution in an update."""

    part: str
    """target, critic or actor."""
    direction: str
    """forward or backward."""
    layer: str
    flop: int
    """Floating-point operations of one call; a multiply-add counts as two."""
    call: Callable[[], Any]
    """Repeats it on the same operands."""


class Recorder(TorchDispatchMode):
    """A context in which every matrix product and convolution is recorded."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.operations: dict[tuple[str, str, str], Operation] = {}
        self._parts = [""]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A context whose operations belong to this part of the update."""
        self._parts.append(name)
        try:
            yield
        finally:
            self._parts.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out = func(*args, **named)
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            # Whether autograd is in its backward pass.
            backward = torch._C._current_graph_task_id() != -1
            direction = "backward" if backward else "forward"
            key = (self._parts[-1], direction, _layer(args, out))
            self.calls[key] += 1
            if key not in self.operations:
                flop = int(formula(*args, **named, out_val=out))
                self.operations[key] = Operation(*key, flop, lambda: func(*args, **named))
        return out


def _layer(args: Any, out: Any) -> str:
    """A layer's name, made of its sizes."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    if tensors[0].dim() == 4:
        weight = next(t for t in tensors[::-1] if t.dim() == 4)
        outputs, inputs, kernel, _ = weight.shape
        return f"convolution {inputs} -> {outputs}, {kernel}x{kernel}"
    matrices = [t for t in tensors if t.dim() >= 2][-2:]
    return "product " + " x ".join(str(list(m.shape)).replace(", ", ",") for m in matrices)


def count(agent: TD3, batch: Batch) -> list[tuple[Operation, float]]:
    """Every operation of an update, and its mean number of calls in an update."""
    recorder, delay = Recorder(), agent.config.policy_delay
    originals = {name: getattr(agent, name) for name in PASSES}

    def labelled(name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with recorder.part(PASSES[name]):
                return originals[name](*args, **named)

        return call

    try:
        for name in PASSES:
            setattr(agent, name, labelled(name))
        with recorder:
            for _ in range(delay):
                agent.update(batch)
    finally:
        for name in PASSES:
            delattr(agent, name)
    return [(recorder.operations[key], calls / delay) for key, calls in recorder.calls.items()]


def best_seconds(call: Callable[[], Any], budget: float = 0.15) -> float:
    """Processor seconds of the quickest of several calls."""
    call()
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def ceiling(size: int = 1024) -> float:
    """Speed of a large float32 matrix product, in GFLOP a processor second."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / best_seconds(lambda: a @ b, 1.0) / 1e9


def report(name: str, operations: list[tuple[Operation, float]], updates_per_cpu_s: float) -> dict[str, Any]:
    """Print the table of one agent and return its sums."""
    total = sum(o.flop * calls for o, calls in operations)
    alone = 0.0
    print(
        f"\n{name}: {total / 2e6:,.0f} million multiply-adds an update (a mean over critic and actor steps)"
    )
    print(f"  {'part':7} {'pass':9} {'layer':38} {'M':>7} {'GFLOP/s':>8}")
    for operation, calls in sorted(operations, key=lambda row: -row[0].flop * row[1]):
        with torch.no_grad():
            seconds = best_seconds(operation.call)
        alone += seconds * calls
        if operation.flop * calls > 0.005 * total:
            print(
                f"  {operation.part:7} {operation.direction:9} {operation.layer:38} "
                f"{operation.flop * calls / 2e6:7.1f} {operation.flop / seconds / 1e9:8.0f}"
            )
    top, floor = ceiling(), total / alone / 1e9
    achieved = total * updates_per_cpu_s / 1e9
    print(
        f"  a matrix product of 1024 reaches {top:.0f} GFLOP a processor second: the floor is "
        f"{total / top / 1e6:.1f} ms an update\n"
        f"  these operations alone reach {floor:.0f}: {alone * 1e3:.1f} ms\n"
        f"  the update reaches {achieved:.0f}: {1e3 / updates_per_cpu_s:.1f} ms, "
        f"{achieved / floor:.0%} of these operations, {achieved / top:.0%} of the product"
    )
    return {
        "multiply_adds": total / 2,
        "gflops_product": top,
        "gflops_operations": floor,
        "gflops_update": achieved,
    }
