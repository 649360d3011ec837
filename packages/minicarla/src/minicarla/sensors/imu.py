"""``sensor.other.imu``: accelerometer, gyroscope, compass."""

from __future__ import annotations

import math

import numpy as np

from minicarla.geometry import Pose, rotation_matrix
from minicarla.sensors.base import FLOAT, INT, ROLE_NAME_ANY, SENSOR_TICK, Attribute, Sensor
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType


class ImuSensor(Sensor):
    """Acceleration (m/s^2), turn rate (rad/s) and heading (radians), in the sensor's own frame.

    The acceleration contains gravity: at rest it is 9.81 upwards, as in CARLA.  It is that of the
    parent's origin, plus the part that the parent's rotation adds at the place of the sensor.
    The compass is 0 towards north (-y) and grows clockwise.
    """

    blueprint = "sensor.other.imu"
    wire_type = SensorType.IMU
    attributes = (
        ROLE_NAME_ANY,
        SENSOR_TICK,
        Attribute("noise_seed", INT, "0"),
        Attribute("noise_accel_stddev_x", FLOAT, "0.0"),
        Attribute("noise_accel_stddev_y", FLOAT, "0.0"),
        Attribute("noise_accel_stddev_z", FLOAT, "0.0"),
        Attribute("noise_gyro_stddev_x", FLOAT, "0.0"),
        Attribute("noise_gyro_stddev_y", FLOAT, "0.0"),
        Attribute("noise_gyro_stddev_z", FLOAT, "0.0"),
        Attribute("noise_gyro_bias_x", FLOAT, "0.0"),
        Attribute("noise_gyro_bias_y", FLOAT, "0.0"),
        Attribute("noise_gyro_bias_z", FLOAT, "0.0"),
    )

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes:
        """The message with the readings of accelerometer, gyroscope and compass."""
        acceleration, turning = np.zeros(3), np.zeros(3)
        if parent_id in view.bodies:
            row = view.bodies.row(parent_id)
            turning = np.deg2rad(view.bodies.angular_velocity[row])
            arm = np.array(pose[:3]) - view.bodies.position[row]
            acceleration = view.bodies.acceleration[row] + np.cross(turning, np.cross(turning, arm))
        axes = rotation_matrix(pose.pitch, pose.yaw, pose.roll)
        acceleration = axes.T @ (acceleration + np.array([0.0, 0.0, view.imu_gravity]))
        rate = axes.T @ turning
        for k, name in enumerate("xyz"):
            acceleration[k] += self.random.normal(0.0, abs(self.number(f"noise_accel_stddev_{name}")))
            rate[k] += self.number(f"noise_gyro_bias_{name}")
            rate[k] += self.random.normal(0.0, abs(self.number(f"noise_gyro_stddev_{name}")))
        compass = math.atan2(axes[1, 0], axes[0, 0]) + math.pi / 2.0
        return sensor_data.imu(acceleration.tolist(), rate.tolist(), compass % (2.0 * math.pi))
