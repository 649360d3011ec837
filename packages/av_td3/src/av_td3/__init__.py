"""av-td3: end-to-end visual driving with TD3 on CARLA, with training that can be trusted."""

import gymnasium

__version__ = "0.1.0"

# By name, so that nothing of the environment is imported before somebody makes one.
gymnasium.register("av_td3/Driving-v0", entry_point="av_td3.supervision.supervised:SupervisedEnv")
