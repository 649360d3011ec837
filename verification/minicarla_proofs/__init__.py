"""Checks of what minicarla promises, one file each.

    python -m verification.minicarla_proofs [NAME...] [--short]

Prints one line for each promise: what was promised, what was found, whether it held.  The exit status is 1
when one did not.  Speed is measured by ``benchmarks/minicarla_speed.py``.
"""
