"""Clients that are killed leave only their actors; clients that stop reading do not delay others."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import numpy as np

from minicarla.wire.client import Caller
from verification.minicarla_proofs.stage import ClientProcess, Finding, ServerProcess

MANAGED = 4


def prove(short: bool) -> Iterator[Finding]:
    """Kill clients, then stop one from reading."""
    yield from kill(3 if short else 50)
    yield from stop(100 if short else 1000)


def kill(clients: int) -> Iterator[Finding]:
    """Kill clients that hold sensors and a Traffic Manager; after each, another client removes its actors."""
    chance = random.Random(0)
    left_over, managers, waits = 0, 0, []
    usual: list[int] = []  # the actors that are there without clients
    with ServerProcess("town") as server:
        watcher = Caller("127.0.0.1", server.port)
        for number in range(clients + 1):
            if number == 1:  # the first one warms up
                before = server.threads(), server.files()
            # Measured from the connection on: Python and the library take a second to load.
            with ClientProcess("come_next", server.port) as following:
                following.hear()
                with ClientProcess("hold", server.port, MANAGED) as client:
                    held = client.hear()
                    time.sleep(0.2 * chance.random())
                    client.process.send_signal(signal.SIGKILL)
                    client.process.wait()
                following.tell(held["actors"])
                told = following.hear()
            waits.append(told["seconds"])
            usual = usual or told["left"]
            left_over += sorted([*usual, *held["actors"]]) == told["found"] and told["left"] == usual
            managers += watcher.call("is_traffic_manager_running", held["manager"], result=bool)
        deadline = time.monotonic() + 2.0
        while (after := (server.threads(), server.files())) != before and time.monotonic() < deadline:
            time.sleep(0.01)
    yield Finding(
        f"{clients} killed clients leave their actors, as in CARLA, but no registered Traffic Manager",
        f"exactly their {1 + 4 + MANAGED} actors were left after {left_over - 1} of {clients};"
        f" {managers} Traffic Managers registered",
        left_over == clients + 1 and managers == 0,
    )
    yield Finding(
        f"{clients} killed clients leave no thread and no socket",
        f"threads {before[0]} before, {after[0]} after; open files {before[1]} before, {after[1]} after",
        after == before,
    )
    yield Finding(
        "the next client can tick at once",
        f"{np.median(waits):.2f} s to connect, configure and tick (median; {max(waits):.2f} s at most)",
        bool(np.median(waits) < 0.5 and max(waits) < 2.0),
    )


def stop(ticks: int) -> Iterator[Finding]:
    """Stop (SIGSTOP) a client that reads large pictures; another client ticks as before."""
    with (
        ServerProcess("town") as server,
        ClientProcess("stare", server.port, 800, 600) as idle,
        ClientProcess("keep_ticking", server.port) as busy,
    ):
        assert idle.hear() == busy.hear() == "ready"

        def tick() -> np.ndarray:
            busy.tell(ticks)
            return 1e3 * np.array(busy.hear())

        tick()
        before = tick()
        memory = server.resident()
        os.kill(idle.process.pid, signal.SIGSTOP)
        after = tick()
        again = tick()
        grown = server.resident() - memory
        os.kill(idle.process.pid, signal.SIGCONT)
        busy.tell(0)
    after = np.concatenate([after, again])
    yield Finding(
        "a client that stops reading does not delay the ticks of others",
        f"a tick takes {np.median(before):.1f} ms (median; worst {before.max():.0f}) while a client reads"
        f" 800x600, {np.median(after):.1f} ms (worst {after.max():.0f}) when it is stopped; memory grows by"
        f" {grown:.0f} MB, the unsent pictures",
        bool(np.median(after) < 1.3 * np.median(before) + 0.5 and after.max() < 500.0 and grown < 45.0),
    )
