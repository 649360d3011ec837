"""A server that was not started by the environment, and a client that is not ours."""

import subprocess
import sys
import textwrap

import pytest

FOREIGN_CLIENT = """
    import os, sys, threading, time
    import carla
    host, port = sys.argv[1].split(":")
    client = carla.Client(host, int(port), worker_threads=1)
    client.set_timeout(10.0)
    world = client.get_world()
    for line in sys.stdin:
        command = line.split()
        if command[0] == "tick":
            world.tick()
        elif command[0] == "synchronous":
            settings = world.get_settings()
            settings.synchronous_mode, settings.fixed_delta_seconds = command[1] == "on", 0.05
            world.apply_settings(settings)
        elif command[0] == "keep-ticking":
            def keep_ticking():
                while True:
                    world.tick()
                    time.sleep(0.05)
            threading.Thread(target=keep_ticking, daemon=True).start()
        elif command[0] == "go-on-when-ticked":
            ticked = threading.Event()
            world.on_tick(lambda snapshot: ticked.set())
            def go_on():
                ticked.wait()
                while True:
                    time.sleep(0.2)
                    world.tick()
            threading.Thread(target=go_on, daemon=True).start()
        elif command[0] == "spawn":
            blueprint = world.get_blueprint_library().find("vehicle.audi.tt")
            blueprint.set_attribute("role_name", command[1] if len(command) > 1 else "hero")
            car = world.spawn_actor(blueprint, world.get_map().get_spawn_points()[0])
        elif command[0] == "destroy":
            car.destroy()
        elif command[0] == "vehicles":
            world.tick()
            print(len(world.get_actors().filter("vehicle.*")), flush=True)
            continue
        elif command[0] == "map":
            print(world.get_map().name, flush=True)
            continue
        print("done", flush=True)
    os._exit(0)
"""


class ForeignClient:
    """A process that uses a CARLA server without asking anybody: one command a line."""

    def __init__(self, address):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(FOREIGN_CLIENT), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server():
    """``host:port`` of a minicarla with the map loop, started by somebody else."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minicarla", "serve", "--port", "0", "--map", "loop"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().split(" ready on ")[1].split()[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def foreign(server):
    """A foreign client of that server."""
    client = ForeignClient(server)
    try:
        yield client
    finally:
        client.end()
