"""The simulator's client in a process of its own, and what keeps it running.

Parent side: imports neither ``carla`` nor ``torch``.
"""
