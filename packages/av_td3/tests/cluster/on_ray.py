"""The program of ``test_on_ray``: a cluster of this machine, a simulator and two sweeps on it.

    python on_ray.py FOLDER

Ray reads its settings when it is imported, so a test cannot do this in its own process.  Prints a JSON
object.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from av_td3.cluster import link
from av_td3.config import EnvConfig
from av_td3.supervision.process import Child
from av_td3.supervision.supervised import SupervisedEnv

RUN = textwrap.dedent("""
    import pathlib, signal, sys, time
    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    lives = folder / (name + ".lives")
    signal.signal(signal.SIGTERM, lambda *_: ((folder / (name + ".saved")).touch(), sys.exit(0)))
    lives.open("a").write("x")
    if name == "bad":
        sys.exit("it went wrong")
    if name == "longer" or len(lives.read_text()) == 1:
        time.sleep(300)
""")
"""A run: ``bad`` fails, ``long`` ends in its second life only, ``longer`` when it is told to."""


class Run:
    """A run of a sweep, as ``trials`` sees it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, log: Path, patience_s: float) -> Child:
        folder = str(log.parent.parent)
        return Child([sys.executable, "-SE", "-c", RUN, folder, self.name], log)

    def failure(self, child: Child) -> str:
        return child.output() if child.exit_status else ""


def run_of(name: str) -> psutil.Process:
    """The process of a run."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-1:] == [name]:
                return process
    raise AssertionError(f"{name} does not run")


def actor_above(process: psutil.Process) -> psutil.Process:
    """Ray's process that has started this one."""
    return next(each for each in process.parents() if each.cmdline()[0].startswith("ray::"))


def when(path: Path, act) -> None:
    """Do it as soon as the file is there and has something in it."""

    def wait() -> None:
        while not (path.exists() and path.stat().st_size):
            time.sleep(0.05)
        act()

    threading.Thread(target=wait, daemon=True).start()


def drive(cluster: link.Cluster, folder: Path) -> dict[str, object]:
    """Two episodes; the host of the first is killed."""
    config = EnvConfig.model_validate({"simulator": {"map": "loop"}})
    action = np.array([0.0, 0.4], np.float32)
    with contextlib.closing(SupervisedEnv(config, log_dir=folder, crews=cluster.crews())) as env:
        env.reset(seed=1)
        first = env.step(action)[4]["frame"]
        actor_above(psutil.Process(env._mine.crew.facts["worker_pid"])).kill()
        info = env.step(action)[4]
        env.reset(seed=2)
        frame = env.step(action)[4]["frame"]
        kinds = [incident.kind for incident in env.incidents]
    return {"frames": [first, frame], "termination": info["termination"], "incidents": kinds}


def main() -> None:
    folder, said = Path(sys.argv[1]), list[str]()
    console = threading.RLock()  # the command's console cannot be pickled, either

    def listener(line: str) -> None:
        with console:
            said.append(line)

    with link.joined("local", 2, {"CPU": 1.0}) as cluster:
        result: dict[str, object] = {"drive": drive(cluster, folder)}
        from av_td3.cluster import trials

        # Ray's process above the run: what a node that is lost looks like.
        when(folder / "long.lives", lambda: actor_above(run_of("long")).kill())
        result["failed"] = trials.run_all(cluster, [Run("bad"), Run("long")], folder, None, listener)
        when(folder / "longer.lives", lambda: os.kill(os.getpid(), signal.SIGTERM))
        with contextlib.suppress(KeyboardInterrupt):
            trials.run_all(cluster, [Run("longer")], folder, None, listener)
            said.append("not interrupted")
    print(json.dumps(result | {"said": said}))


if __name__ == "__main__":
    main()
