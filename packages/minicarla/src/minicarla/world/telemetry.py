"""CARLA's telemetry of a vehicle, computed from its motion when a client asks for it.

The vehicle model has a single track and no suspension.  So the two tyres of an axle share its force,
tyre loads are those at rest, and wheels roll without longitudinal slip.
"""

from __future__ import annotations

import math

import numpy as np

from minicarla.physics import models
from minicarla.physics.handling import Engine
from minicarla.physics.models import GRAVITY
from minicarla.wire.structs import VehicleTelemetryData, WheelTelemetryData
from minicarla.world.table import ActorTable
from minicarla.world.vehicles import VehicleControls

_SLOW = 0.5  # m/s; below it a slip angle is meaningless


def telemetry(actors: ActorTable, vehicles: VehicleControls, actor_id: int) -> VehicleTelemetryData:
    """Telemetry of a vehicle; CarlaError when that id is not a vehicle's.

    Speeds in m/s and rad/s, forces in N, torques in N m, the lateral slip in degrees.  Forces are
    those of the last tick; forward and right are positive.
    """
    control = vehicles.physics_control(actor_id)
    bodies, row = actors.bodies, actors.bodies.row(actor_id)
    model = models.MODELS[bodies.model[row]]
    figures = models.parameters(bodies, np.array([row]))[:, 0]
    yaw, pitch = np.radians(bodies.rotation[row, [1, 0]]).tolist()
    forward, right = (math.cos(yaw), math.sin(yaw)), (-math.sin(yaw), math.cos(yaw))
    velocity, acceleration = bodies.velocity[row, :2], bodies.acceleration[row, :2]
    u, w = float(velocity @ forward), float(velocity @ right)
    turn = math.radians(bodies.angular_velocity[row, 2])
    mass = float(bodies.mass[row])
    drag = float(figures[models.DRAG]) * u * abs(u)

    along = mass * (float(acceleration @ forward) + GRAVITY * math.sin(pitch)) + drag
    across = mass * float(acceleration @ right)
    load = 0.25 * mass * GRAVITY
    # All wheels brake; only the driven ones drive.
    front = model.drive_front if along * u > 0.0 else 0.5
    shares = (0.5 * front, 0.5 * front, 0.5 - 0.5 * front, 0.5 - 0.5 * front)
    steered = models.front_wheels(int(bodies.model[row]), float(bodies.wheel_angle[row]))
    axle = 0.5 * model.wheelbase
    wheels = []
    for index, wheel in enumerate(control.wheels):
        angle = math.radians(steered[index]) if index < 2 else 0.0
        x, y = axle if index < 2 else -axle, 0.5 * model.track * (1 if index % 2 else -1)
        over_x, over_y = u - turn * y, w + turn * x  # velocity of the wheel over ground
        rolling = over_x * math.cos(angle) + over_y * math.sin(angle)
        sliding = over_y * math.cos(angle) - over_x * math.sin(angle)
        slip = math.degrees(math.atan2(sliding, abs(rolling))) if math.hypot(u, w) > _SLOW else 0.0
        push, side = along * shares[index], 0.25 * across
        wheels.append(
            WheelTelemetryData(
                tire_friction=wheel.tire_friction,
                lat_slip=slip,
                omega=100.0 * rolling / wheel.radius,
                tire_load=load,
                normalized_tire_load=1.0,
                torque=0.01 * push * wheel.radius,
                long_force=push,
                lat_force=side,
                normalized_long_force=abs(push) / load,
                normalized_lat_force=abs(side) / load,
            )
        )
    gear = int(bodies.gear[row])
    return VehicleTelemetryData(
        speed=u,
        steer=float(bodies.steer[row]),
        throttle=float(bodies.throttle[row]),
        brake=float(bodies.brake[row]),
        engine_rpm=min(Engine(control).rpm(abs(u), gear), control.max_rpm),
        gear=gear,
        drag=abs(drag),
        wheels=wheels,
    )
