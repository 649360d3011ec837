"""Provisional map and dynamics, until the real ones are in place."""

# ruff: noqa
from __future__ import annotations
import math
from types import SimpleNamespace
import numpy as np
from minicarla.geometry import Transform


class Physics:
    def __init__(self, roadmap):
        pass

    def step(self, bodies, dt):
        for i in range(len(bodies)):
            yaw = math.radians(bodies.rotation[i, 1])
            v = bodies.velocity[i, 0] * math.cos(yaw) + bodies.velocity[i, 1] * math.sin(yaw)
            acc = 4.0 * bodies.throttle[i] * (-1 if bodies.reverse[i] else 1) - 0.1 * v
            dec = (8 * bodies.brake[i] + 8 * bodies.hand_brake[i]) * dt
            v += acc * dt
            v = math.copysign(max(0.0, abs(v) - dec), v)
            rate = v * math.tan(bodies.steer[i] * math.radians(40)) / 2.9
            bodies.position[i, 0] += v * math.cos(yaw) * dt
            bodies.position[i, 1] += v * math.sin(yaw) * dt
            bodies.position[i, 2] = 0.0
            yaw += rate * dt
            bodies.rotation[i, 1] = math.degrees(yaw)
            bodies.angular_velocity[i, 2] = math.degrees(rate)
            new = np.array([v * math.cos(yaw), v * math.sin(yaw), 0.0])
            bodies.acceleration[i] = (new - bodies.velocity[i]) / dt
            bodies.velocity[i] = new
        return []


class Traffic:
    def __init__(self, roadmap, seed):
        pass

    def add(self, actor_id):
        pass

    def remove(self, actor_id):
        pass

    def decide(self, bodies, dt):
        bodies.throttle[:] = bodies.throttle
