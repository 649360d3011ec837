"""Drive an exported policy in a CARLA program: no torch, nothing of av-td3.

    av-td3 export sight my-agent                              # or a run of the preset sight
    python examples/onnx_driving.py my-agent/policy.onnx

It starts a minicarla with a map that the agent has never seen.  The policy needs the last four pictures of
its camera, one a step, and a vector: docs/architecture.md says what it holds.  A step is two ticks of 0.05 s,
and a filter smooths the action.
"""

from __future__ import annotations

import argparse
import collections
import queue

import carla
import cv2
import numpy as np
import onnxruntime

from minicarla.testing import ServerProcess

TICKS, KEPT = 2, 0.75  # env.action_repeat, env.action_smoothing of the preset


def drive(world: carla.World, policy: onnxruntime.InferenceSession, seconds: float) -> tuple[float, float]:
    """Follow the lane; returns the metres driven and the mean distance from the lane's centre."""
    world.apply_settings(carla.WorldSettings(synchronous_mode=True, fixed_delta_seconds=0.05))
    blueprints, road = world.get_blueprint_library(), world.get_map()
    car = world.spawn_actor(blueprints.find("vehicle.tesla.model3"), road.get_spawn_points()[0])
    kind = blueprints.find("sensor.camera.rgb")
    for name, value in {"image_size_x": "84", "image_size_y": "84", "fov": "90"}.items():
        kind.set_attribute(name, value)
    place = carla.Transform(carla.Location(x=1.5, z=2.4), carla.Rotation(pitch=-10.0))
    camera = world.spawn_actor(kind, place, attach_to=car)
    pictures: queue.Queue[carla.Image] = queue.Queue()
    camera.listen(pictures.put)
    seen: collections.deque[np.ndarray] = collections.deque(maxlen=4)
    vector = np.zeros((1, policy.get_inputs()[1].shape[1]), np.float32)
    steer = pedal = metres = off = 0.0
    steps = round(seconds / (0.05 * TICKS))
    for step in range(steps):
        action = [0.0, -1.0]  # the first second: the car drops onto its wheels
        if step >= 10:
            moving = car.get_velocity()
            # Speed; follow the lane, no junction near; what is applied.  The rest only the critic saw: 0.
            vector[0, :8] = [np.hypot(moving.x, moving.y) / 15.0, 1, 0, 0, 0, 1, steer, pedal]
            [[action]] = policy.run(["action"], {"image": np.stack(seen)[None], "vector": vector})
        for _ in range(TICKS):
            steer += (1 - KEPT) * (float(action[0]) - steer)
            pedal += (1 - KEPT) * (float(action[1]) - pedal)
            car.apply_control(carla.VehicleControl(max(0.0, pedal), steer, max(0.0, -pedal)))
            world.tick()
            picture = pictures.get(timeout=10.0)
        bgra = np.frombuffer(picture.raw_data, np.uint8).reshape(84, 84, 4)
        seen.append(cv2.cvtColor(bgra, cv2.COLOR_BGRA2GRAY))
        at, moving = car.get_location(), car.get_velocity()
        metres += 0.05 * TICKS * moving.length()
        off += road.get_waypoint(at).transform.location.distance_2d(at) / steps
    camera.stop()
    return metres, off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("policy", help="policy.onnx of an agent of the preset sight")
    parser.add_argument("--seconds", type=float, default=30.0, help="simulated seconds to drive")
    args = parser.parse_args()
    policy = onnxruntime.InferenceSession(args.policy, providers=["CPUExecutionProvider"])
    with ServerProcess(map="loop") as server:
        client = carla.Client(server.host, server.port)
        client.set_timeout(20.0)
        metres, off = drive(client.get_world(), policy, args.seconds)
        print(f"drove {metres:.0f} m, on average {off:.2f} m from the lane's centre")


if __name__ == "__main__":
    main()
