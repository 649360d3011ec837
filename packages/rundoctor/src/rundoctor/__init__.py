"""rundoctor: says what is wrong with a reinforcement-learning run, from its log files alone.

It needs neither torch nor carla.  From the command line ``rundoctor RUN`` does it; from Python::

    from rundoctor import diagnose, load_runs

    loaded = load_runs(["runs/td3-s0", "other/events.out.tfevents.1763"])
    for run in loaded.runs:
        report = diagnose(run)
        print(report.word, report.verdict.sentence)  # "CRITICAL The actor is saturated: ..."
        for finding in report.findings:
            print(finding.severity, finding.id, finding.evidence[0].text, finding.fix)
    for problem in loaded.unreadable:
        print("could not be read:", problem)

* :func:`load_runs` reads every run under the given files and folders.  It raises nothing for what the files
  hold: what is damaged, missing or left out is said in ``Loaded.problems`` and ``Loaded.unreadable``, and in
  the notes of a run.
* A :class:`Run` holds the series of one run.  ``run.get("critic_loss")`` gives a series under whatever tag
  the run logs it, or None; its ``step`` and ``value`` are arrays of shape (n,).  ``rundoctor --names`` lists
  the names.  A name that is not listed raises ``KeyError``.
* :func:`diagnose` judges one run by every rule and returns a :class:`Report`.  It raises nothing: a rule that
  fails is listed among what could not be judged.
* A :class:`Finding` is one thing that is wrong: its ``id`` (docs/diagnosis.md lists them), its
  :class:`Severity` (INFO 0, WARNING 1, CRITICAL 2), the :class:`Evidence` (tag, step, value, text), the
  cause, the fix, a confidence from 0 to 1, and the findings that it explains (``symptoms``).

``report.to_json()`` is the report as plain data.  The modules of ``rundoctor.report`` write it as text,
Markdown, HTML, figures and tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import diagnose
    from .evidence import Evidence, Finding, Severity
    from .load import Loaded
    from .load import load as load_runs
    from .model import Report
    from .run import Run

__version__ = "0.1.0"
__all__ = [
    "Evidence",
    "Finding",
    "Loaded",
    "Report",
    "Run",
    "Severity",
    "__version__",
    "diagnose",
    "load_runs",
]

_PLACES = {
    "Evidence": ("evidence", "Evidence"),
    "Finding": ("evidence", "Finding"),
    "Loaded": ("load", "Loaded"),
    "Report": ("model", "Report"),
    "Run": ("run", "Run"),
    "Severity": ("evidence", "Severity"),
    "diagnose": ("engine", "diagnose"),
    "load_runs": ("load", "load"),
}


def __getattr__(name: str) -> object:
    """Import on first use: the command answers ``--help`` without reading numpy."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(f".{module}", __name__), attribute)
