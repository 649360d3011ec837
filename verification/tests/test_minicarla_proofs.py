"""Short forms of the proofs of ``make prove``: what minicarla promises, with the real client.

What other tests of this folder try already is left out: the start (test_cli); flat memory, readers
that do not read and hostile requests (test_server); and speed, which only a quiet machine can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from verification.minicarla_proofs import agreement, determinism, lane_invasion, traffic_manager, vanishing
from verification.minicarla_proofs.stage import Finding


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
def test_what_is_promised_holds(prove: Callable[[], Iterator[Finding]]) -> None:
    findings = list(prove())
    assert findings
    assert not [finding for finding in findings if not finding.held]
