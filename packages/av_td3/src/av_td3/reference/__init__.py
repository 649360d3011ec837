"""The agent checked on tasks with published results: Gymnasium's, on the state alone, without pictures.

The same :class:`~av_td3.agent.td3.TD3`, the same replay and the same exploration as in driving.
"""
