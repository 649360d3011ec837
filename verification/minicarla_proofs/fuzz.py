"""Malformed, oversized, misplaced and hostile requests do no harm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from verification.minicarla_proofs.stage import ROOT, Finding


def prove(short: bool) -> Iterator[Finding]:
    """Run :mod:`verification.minicarla_fuzz` for ten minutes."""
    seconds = 6 if short else 600
    command = [sys.executable, "-m", "verification.minicarla_fuzz", "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 120)
    lines = done.stdout.strip().splitlines()
    found = "; ".join(lines[-2:]) if done.returncode == 0 else " / ".join([*lines, done.stderr.strip()])
    yield Finding(
        f"no crash, hang, growth or internal error in {seconds} s of hostile requests",
        " ".join(found.split()),
        done.returncode == 0,
    )
