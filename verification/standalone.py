"""Checks that minicarla and rundoctor install alone and bring nothing that they should not.

    python -m verification.standalone

For minicarla and rundoctor: a fresh virtual environment, ``pip install ./packages/NAME``, the list of what
got installed, and the command's ``--help``.  One line a package; the exit status is 1 when one brings what it
should not, or does not start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""The environment without a path that would let one package see another."""


class Package(NamedTuple):
    """A package, its command, and the distributions that must not come with it."""

    name: str
    command: str
    unwanted: frozenset[str]


PACKAGES = (
    Package(
        "minicarla", "minicarla", frozenset({"torch", "carla", "plotly", "matplotlib", "av-td3", "rundoctor"})
    ),
    Package("rundoctor", "rundoctor", frozenset({"torch", "carla", "gymnasium", "av-td3", "minicarla"})),
)
"""av_td3 is left out: it needs both others, and ``make train`` installs it."""


def check(package: Package, folder: Path) -> str:
    """Install a package into ``folder``; "" when all is well, otherwise what is wrong."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [
        *pip,
        "install",
        "-q",
        "-c",
        str(ROOT / "constraints.txt"),
        str(ROOT / "packages" / package.name),
    ]
    done = subprocess.run(install, capture_output=True, text=True, env=CLEAN)
    if done.returncode:
        return f"pip install failed: {done.stderr.strip()[-500:]}"
    listing = subprocess.run(
        [*pip, "list", "--format=json"], check=True, capture_output=True, text=True, env=CLEAN
    )
    found = {entry["name"].lower().replace("_", "-") for entry in json.loads(listing.stdout)}
    if unwanted := found & package.unwanted:
        return f"brings {', '.join(sorted(unwanted))}"
    # In an empty folder, so that nothing is imported from the checkout.
    command = [str(folder / "bin" / package.command), "--help"]
    started = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=CLEAN)
    if started.returncode:
        return f"`{package.command} --help` failed: {started.stderr.strip()[-500:]}"
    print(f"{package.name}: {len(found)} distributions, none that it should not bring; its command starts")
    return ""


def main() -> int:
    status = 0
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as folder:
            wrong = check(package, Path(folder) / "venv")
        if wrong:
            print(f"{package.name}: {wrong}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
