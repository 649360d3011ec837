"""The driving environment over one CARLA client.

Only ``session``, ``traffic`` and ``env`` import ``carla``; routes, observation, reward and
termination are plain arithmetic, so that the learner's side can share their definitions.
"""
