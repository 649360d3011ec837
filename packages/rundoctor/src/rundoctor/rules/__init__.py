"""The rules: one file each, found automatically.

A rule file defines ``RULE = Rule(...)``.  To add a rule, add a file; nothing else changes.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from ..model import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule of this package, in the order of their files' names."""
    rules = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        if not module.name.startswith("_"):
            rules.append(importlib.import_module(f"{__name__}.{module.name}").RULE)
    ids = [r.id for r in rules]
    twins = {i for i in ids if ids.count(i) > 1}
    if twins:
        raise RuntimeError(f"two rules with the same id: {', '.join(sorted(twins))}")
    return tuple(rules)
