"""Short forms of the proofs of ``make prove``: what minicarla promises, with the real client.

Left out: what minicarla's own tests cover (the start, memory, readers that do not read, hostile requests),
and speed, which can only be measured on a quiet machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from verification.minicarla_proofs import agreement, determinism, lane_invasion, traffic_manager, vanishing
from verification.minicarla_proofs.stage import Finding


@pytest.mark.slow
@pytest.mark.parametrize(
    "prove",
    [
        lambda: determinism.prove(short=True),
        lambda: agreement.prove(short=True),
        lambda: lane_invasion.prove(short=True),
        lambda: traffic_manager.prove(short=True),
        lambda: vanishing.kill(1),
    ],
    ids=["determinism", "agreement", "lane-invasion", "traffic-manager", "vanishing"],
)
def test_the_promise_holds(prove: Callable[[], Iterator[Finding]]) -> None:
    findings = list(prove())
    assert findings
    assert not [finding for finding in findings if not finding.held]
