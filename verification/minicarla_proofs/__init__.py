"""Proofs of what minicarla promises, apart from its speed; one file a proof.

    python -m verification.minicarla_proofs [NAME...] [--short]

Prints one line for each promise: what was promised, what was found, whether it held.  Exit status 1
when one did not.  Speed has a command of its own, ``benchmarks/minicarla_speed.py``.
"""
