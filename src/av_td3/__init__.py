"""av-td3: end-to-end visual driving with TD3 on CARLA, with training that can be trusted."""

__version__ = "0.1.0"
