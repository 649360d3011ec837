"""How fast minicarla is with the real client.  A step applies a control, ticks, and waits for the picture.

    python -m benchmarks.minicarla_speed [--seconds 10] [--map town] [--profile] [--json FILE] [CASE...]

Each case runs a server and a client in processes of their own.  It prints steps per second, the time of a
step (median and 99th percentile), and the processor time that server and client spend on a step.  On a busy
machine the processor times say more than the steps per second.  ``--profile`` also runs the world of each
case without a client under cProfile, and prints where the time of a tick goes.
"""

from __future__ import annotations

import cProfile
import io
import os
import pstats
import subprocess
import sys
import time
from typing import Any, NamedTuple

from benchmarks import common


class Case(NamedTuple):
    name: str
    server_npc: int
    manager_npc: int
    size: tuple[int, int]
    bar: float  # steps/s on two quiet cores


CASES = (
    Case("alone", 0, 0, (84, 84), 1500),
    Case("20-server", 20, 0, (84, 84), 800),
    Case("20-manager", 0, 20, (84, 84), 400),
    Case("100-server", 100, 0, (84, 84), 300),
    Case("100-manager", 0, 100, (84, 84), 0),
    Case("800x600", 0, 0, (800, 600), 100),
)

_CLIENT = """
import os, queue, random, socket, sys, time
import carla
port, manager_npc, width, height, seconds = int(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5])
client = carla.Client("127.0.0.1", port)
client.set_timeout(20.0)
world = client.get_world()
settings = world.get_settings()
settings.synchronous_mode, settings.fixed_delta_seconds = True, 0.05
world.apply_settings(settings)
library, points = world.get_blueprint_library(), world.get_map().get_spawn_points()
car = None
for point in points:
    car = world.try_spawn_actor(library.find("vehicle.tesla.model3"), point)
    if car is not None:
        break
if manager_npc:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        manager_port = probe.getsockname()[1]
    manager = client.get_trafficmanager(manager_port)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(1)
    free = [p for p in points if p.location.distance(car.get_transform().location) > 10]
    random.Random(1).shuffle(free)
    spawn, autopilot, future = (
        getattr(carla.command, name) for name in ("SpawnActor", "SetAutopilot", "FutureActor"))
    blueprint = library.find("vehicle.audi.tt")
    answers = client.apply_batch_sync(
        [spawn(blueprint, p).then(autopilot(future, True, manager_port)) for p in free[:manager_npc]], True)
    assert sum(not a.error for a in answers) == manager_npc
camera = library.find("sensor.camera.rgb")
camera.set_attribute("image_size_x", str(width)); camera.set_attribute("image_size_y", str(height))
eye = world.spawn_actor(camera, carla.Transform(carla.Location(x=1.5, z=2.0)), attach_to=car)
images = queue.SimpleQueue()
eye.listen(images.put)
def step(i):  # forwards and backwards
    phase = i // 20 % 4
    car.apply_control(carla.VehicleControl(
        0.4 * (phase % 2 == 0), 0.02 * (i % 2), 1.0 * (phase % 2), reverse=phase >= 2))
    frame = world.tick(20.0)
    while images.get(timeout=20.0).frame < frame:
        pass
for i in range(50):
    step(i)
def ticks_of(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
times, server, own, start = [], ticks_of(int(sys.argv[6])), time.process_time(), time.perf_counter()
while time.perf_counter() - start < seconds:
    begin = time.perf_counter()
    step(len(times))
    times.append(time.perf_counter() - begin)
wall, count = time.perf_counter() - start, len(times)
server, own = ticks_of(int(sys.argv[6])) - server, time.process_time() - own
times.sort()
median, late = times[count // 2], times[int(count * 0.99)]
print(count / wall, 1e3 * median, 1e3 * late, 1e3 * server / count, 1e3 * own / count)
sys.stdout.flush()
eye.stop()
os._exit(0)
"""


COLUMNS = ("steps_per_s", "p50_ms", "p99_ms", "server_ms", "client_ms")


def measure(case: Case, map_name: str, seconds: float) -> dict[str, float] | str:
    """Run a case; returns its figures by name of column, or what went wrong."""
    command = [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", map_name, "--synchronous"]
    command += ["--npc", str(case.server_npc), "--seed", "1", "--parent-pid", str(os.getpid())]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split(":")[1].split()[0]
        client = [sys.executable, "-c", _CLIENT, port, str(case.manager_npc), *map(str, case.size)]
        client += [str(seconds), str(server.pid)]
        try:
            done = subprocess.run(client, capture_output=True, text=True, timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            return "the client hung"
        if done.returncode:
            return f"failed: {done.stderr.strip()[-300:]}"
        return dict(zip(COLUMNS, map(float, done.stdout.split()), strict=True))
    finally:
        server.terminate()
        server.wait()


class _Reader:
    """An outlet that claims to have a reader for every stream."""

    def has_reader(self, stream_id: int) -> bool:
        return True

    def send(self, stream_id: int, *parts: Any) -> None:
        b"".join(parts)

    def token(self, stream_id: int, host: str | None = None) -> bytes:
        return bytes(24)


def profile(case: Case, map_name: str, ticks: int = 400) -> str:
    """A table of where the time of a tick goes, without sockets and client."""
    from minicarla.geometry import Pose
    from minicarla.wire import structs
    from minicarla.world import blueprints
    from minicarla.world.outlet import CarlaError
    from minicarla.world.world import World

    npc = case.server_npc or case.manager_npc
    world = World(map_name, seed=1, npc=npc, outlet=_Reader(), synchronous=True)
    car = None
    for point in world.roadmap.spawn_points:
        try:
            car = world.spawn(blueprints.describe("vehicle.tesla.model3"), point)
            break
        except CarlaError:
            continue
    assert car is not None
    width, height = map(str, case.size)
    camera = blueprints.describe("sensor.camera.rgb", image_size_x=width, image_size_y=height)
    world.spawn(camera, Pose(x=1.5, z=2.0), car.id)
    for _ in range(50):
        world.tick()
    start = time.perf_counter()
    for step in range(ticks):
        phase = step // 20 % 4
        world.episode.vehicles.apply(
            car.id,
            structs.VehicleControl(
                0.4 * (phase % 2 == 0), 0.02 * (step % 2), 1.0 * (phase % 2), reverse=phase >= 2
            ),
        )
        world.tick()
    mean = 1e3 * (time.perf_counter() - start) / ticks
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(ticks):
        world.tick()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(28)
    rows = [line for line in text.getvalue().splitlines() if line.strip()][4:]
    return f"\n{case.name}: {mean:.3f} ms a tick without client\n" + "\n".join(rows)


def main() -> None:
    """Run the cases that the command line names."""
    parser = common.options(__doc__)
    parser.add_argument("cases", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--map", default="town")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    chosen = [case for case in CASES if case.name in options.cases]
    head = ("steps/s", "bar", "p50 ms", "p99 ms", "server ms", "client ms")
    print(f"{'case':12} {head[0]:>9} {head[1]:>6} {head[2]:>8} {head[3]:>8} {head[4]:>10} {head[5]:>10}")
    rows: list[dict[str, Any]] = []
    for case in chosen:
        figures = measure(case, options.map, options.seconds)
        if isinstance(figures, str):
            print(f"{case.name:12} {figures}", flush=True)
            continue
        rows.append({"case": case.name, **figures})
        rate, median, late, server_ms, client_ms = figures.values()
        print(
            f"{case.name:12} {rate:9.0f} {case.bar or '':>6} {median:8.2f} {late:8.2f} "
            f"{server_ms:10.3f} {client_ms:10.3f}",
            flush=True,
        )
    common.write_json(options.json, {"map": options.map, "rows": rows})
    if options.profile:
        for case in chosen:
            print(profile(case, options.map), flush=True)


if __name__ == "__main__":
    main()
