"""Provisional map and dynamics, until the real ones are in place."""

# ruff: noqa
from __future__ import annotations
import math
from types import SimpleNamespace
import numpy as np
from minicarla.geometry import Transform

L, R, W = 120.0, 30.0, 3.5


def _roads():
    a = math.pi * R
    return [
        (0.0, 0.0, 0.0, L, 0.0),
        (L, 0.0, 0.0, a, 1 / R),
        (L, 2 * R, math.pi, L, 0.0),
        (0.0, 2 * R, math.pi, a, 1 / R),
    ]


def _lane(i):
    return f'''<lane id="{i}" type="driving" level="false"><link><predecessor id="{i}"/><successor id="{i}"/></link><width sOffset="0" a="{W}" b="0" c="0" d="0"/><roadMark sOffset="0" type="solid" weight="standard" color="white" width="0.12" laneChange="none"/><speed sOffset="0" max="13.9" unit="m/s"/></lane>'''


def _xodr():
    out = [
        '<?xml version="1.0" standalone="yes"?><OpenDRIVE><header revMajor="1" revMinor="4" name="oval" version="1" date="2026" north="0" south="0" east="0" west="0"/>'
    ]
    rs = _roads()
    n = len(rs)
    for k, (x, y, h, ln, c) in enumerate(rs):
        geo = "<line/>" if c == 0 else f'<arc curvature="{c!r}"/>'
        out.append(
            f'''<road name="r{k}" length="{ln!r}" id="{k}" junction="-1"><link><predecessor elementType="road" elementId="{(k - 1) % n}" contactPoint="end"/><successor elementType="road" elementId="{(k + 1) % n}" contactPoint="start"/></link><type s="0" type="town"><speed max="50" unit="km/h"/></type><planView><geometry s="0" x="{x!r}" y="{y!r}" hdg="{h!r}" length="{ln!r}">{geo}</geometry></planView><elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile><lateralProfile/><lanes><laneOffset s="0" a="0" b="0" c="0" d="0"/><laneSection s="0"><left>{_lane(1)}</left><center><lane id="0" type="none" level="false"><roadMark sOffset="0" type="broken" weight="standard" color="yellow" width="0.12" laneChange="both"/></lane></center><right>{_lane(-1)}</right></laneSection></lanes></road>'''
        )
    return "\n".join([*out, "</OpenDRIVE>"])


class _Map(SimpleNamespace):
    def surfaces(self):
        return []

    def markings(self):
        return []

    bounds = (-100, -100, 300, 200)


def load(name):
    pts = []
    for x, y, h, ln, c in _roads():
        s = 4.0
        while s < ln:
            if c == 0:
                px, py, ph = x + s * math.cos(h), y + s * math.sin(h), h
            else:
                ph = h + c * s
                px = x + (math.sin(ph) - math.sin(h)) / c
                py = y - (math.cos(ph) - math.cos(h)) / c
            px += (W / 2) * math.sin(ph)
            py -= (W / 2) * math.cos(ph)
            pts.append(Transform(px, -py, 0.5, 0.0, -math.degrees(ph), 0.0))
            s += 8.0
    return _Map(
        name="town", opendrive=_xodr(), spawn_points=pts, statics=[], lanes=[], locate=lambda x, y: None
    )


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


def _sensors():
    from minicarla.sensors.base import ROLE_NAME, SENSOR_TICK, Attribute, INT, FLOAT, Sensor
    from minicarla.sensors.collision import CollisionSensor
    from minicarla.sensors.obstacle import ObstacleSensor
    from minicarla.wire.stream import SensorType
    import struct

    class Camera(Sensor):
        blueprint = "sensor.camera.rgb"
        wire_type = SensorType.RGB_CAMERA
        attributes = (
            ROLE_NAME,
            SENSOR_TICK,
            Attribute("image_size_x", INT, "800"),
            Attribute("image_size_y", INT, "600"),
            Attribute("fov", FLOAT, "90.0"),
        )

        def measure(self, view, pose, parent_id):
            w, h = int(self.number("image_size_x")), int(self.number("image_size_y"))
            return struct.pack("<IIf", w, h, self.number("fov")) + bytes([view.frame & 255, 90, 120, 255]) * (
                w * h
            )

    class Lane(Sensor):
        blueprint = "sensor.other.lane_invasion"
        wire_type = SensorType.LANE_INVASION
        attributes = (ROLE_NAME,)
        event = True
        streams = False

    return [Camera, Lane, CollisionSensor, ObstacleSensor]


SENSORS = _sensors()


def available():
    return ["town"]


def parse(text, name):
    roadmap = load(name)
    roadmap.opendrive = text
    return roadmap
