"""What is wrong with a training run, read from its files alone.

Needs neither torch nor carla::

    from rundoctor import diagnose, load_runs

    for run in load_runs(["runs/td3-s0"]).runs:
        report = diagnose(run)
        print(report.word, report.verdict.sentence)

``load_runs`` (``rundoctor.load.load``) finds and reads runs, ``diagnose`` (``rundoctor.engine.diagnose``)
judges one, and the modules of ``rundoctor.report`` write the answer down.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import diagnose
    from .load import Loaded
    from .load import load as load_runs
    from .model import Report
    from .run import Run

__version__ = "0.1.0"
__all__ = ["Loaded", "Report", "Run", "__version__", "diagnose", "load_runs"]

_PLACES = {
    "Loaded": ("load", "Loaded"),
    "Report": ("model", "Report"),
    "Run": ("run", "Run"),
    "diagnose": ("engine", "diagnose"),
    "load_runs": ("load", "load"),
}


def __getattr__(name: str) -> object:
    """Import on first use: the command answers ``--help`` without reading numpy."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(f".{module}", __name__), attribute)
