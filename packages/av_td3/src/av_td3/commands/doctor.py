"""``av-td3 doctor``: is everything here that training needs?

Each check is a function that returns findings; none raises for what it looks at.  Nothing is written but a
temporary folder, and nothing is changed on a server.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from av_td3.config import SimulatorConfig, load_config, parse_address
from av_td3.driving.errors import SetupError
from av_td3.errors import BAD_INPUT, FAILED, OK, UserError
from av_td3.supervision.launcher import LaunchError, MinicarlaProcess, last_line
from av_td3.training.provenance import processor

Level = Literal["ok", "warning", "fail"]
PYTHONS = ((3, 10), (3, 13))
"""Oldest Python that is supported, and the first that is not."""
MODULES = {
    "torch": "torch",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "scipy": "scipy",
    "gymnasium": "gymnasium",
    "tensorboard": "tensorboard",
    "safetensors": "safetensors",
}
"""What training imports, and the distribution that brings it."""
GIB = 2**30
PROBE_S = 30.0
"""Longest time that a question to a server may take."""
TICKS = 20
"""Ticks that the bundled simulator has to make."""


@dataclass(frozen=True)
class InstallationCheck:
    """One line of the report."""

    name: str
    level: Level
    text: str
    do: str = ""
    """What to do about it; empty where nothing needs doing."""


def doctor(address: str | None = None, console: Console | None = None) -> int:
    """Check the installation and print a line for each finding.

    Args:
        address: ``host:port`` of a CARLA server to ask as well.
        console: where to print.

    Returns:
        0 when no check failed (warnings may be there), 1 otherwise.

    Raises:
        UserError: the address is none.
    """
    if address is not None:
        try:
            parse_address(address)
        except ValueError as error:
            raise UserError(f"--carla: {error}", BAD_INPUT) from None
    console = console or Console()
    counts = dict.fromkeys(("ok", "warning", "fail"), 0)
    for finding in findings(address):
        console.print(_line(finding))
        counts[finding.level] += 1
    warnings = "1 warning" if counts["warning"] == 1 else f"{counts['warning']} warnings"
    console.print(f"{counts['ok']} ok, {warnings}, {counts['fail']} failed", highlight=False)
    return FAILED if counts["fail"] else OK


def findings(address: str | None = None) -> Iterator[InstallationCheck]:
    """Every check, the quick ones first."""
    checks: list[Callable[[], Iterator[InstallationCheck]]] = [
        check_system,
        check_packages,
        check_processor,
        check_memory,
        check_disk,
        check_gpu,
        check_film,
        check_ports,
        check_minicarla,
    ]
    for check in checks:
        yield from check()
    if address is not None:
        yield check_server(address)


def check_system() -> Iterator[InstallationCheck]:
    """Python and the operating system."""
    here, (oldest, beyond) = sys.version_info[:2], PYTHONS
    wanted = f"{oldest[0]}.{oldest[1]} to {beyond[0]}.{beyond[1] - 1}"
    yield InstallationCheck(
        "Python",
        "ok" if oldest <= here < beyond else "fail",
        f"{platform.python_version()}, {sys.prefix}",
        "" if oldest <= here < beyond else f"make the environment with Python {wanted}",
    )
    linux = sys.platform == "linux" and platform.machine() == "x86_64"
    yield InstallationCheck(
        "system",
        "ok" if linux else "fail",
        platform.platform(),
        "" if linux else "CARLA's client 0.9.16 and the supervision of processes run on Linux, x86_64",
    )


def check_packages() -> Iterator[InstallationCheck]:
    """Whether what training imports can be imported."""
    found, broken = [], False
    for module, distribution in MODULES.items():
        try:
            importlib.import_module(module)
            found.append(f"{distribution.removesuffix('-python-headless')} {version(distribution)}")
        except (ImportError, PackageNotFoundError) as error:
            broken = True
            yield InstallationCheck(
                "packages", "fail", f"{distribution}: {error}", f"pip install {distribution}, or make install"
            )
    if not broken:
        yield InstallationCheck("packages", "ok", ", ".join(found))


def check_processor() -> Iterator[InstallationCheck]:
    """Instructions, and how many threads torch uses."""
    flags = cpu_flags()
    useful = [name for name in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    slow = bool(flags) and "avx2" not in flags
    yield InstallationCheck(
        "processor",
        "warning" if slow else "ok",
        f"{processor()}" + (f" ({', '.join(useful)})" if useful else ""),
        "it has no AVX2: updates take several times longer" if slow else "",
    )
    with contextlib.suppress(ImportError):
        import torch

        yield judge_threads(torch.get_num_threads(), usable_cores(), psutil.getloadavg()[0])


def judge_threads(threads: int, cores: float, load: float) -> InstallationCheck:
    """Torch's threads beside the cores that this process may use and the load that is there already."""
    text = f"torch uses {threads}, this process may use {cores:g} cores, load {load:.1f}"
    if threads > cores:
        return InstallationCheck("threads", "warning", text, f"set train.threads={max(1, int(cores))}")
    if load > cores and threads > 1:
        return InstallationCheck("threads", "warning", text, "others use this machine: set train.threads=1")
    return InstallationCheck("threads", "ok", text)


def usable_cores() -> float:
    """Cores of this process: its affinity, and what a container's quota leaves of it."""
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, int(quota) / int(period))  # "max" is no number: there is no quota
    return cores


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The instruction sets that the kernel reports; empty where it reports none."""
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()


def check_memory() -> Iterator[InstallationCheck]:
    """Whether the replays of the presets fit."""
    yield judge_memory(psutil.virtual_memory().available)


def judge_memory(available: int) -> InstallationCheck:
    """Free memory beside what the presets need: their replay, and a gibibyte and a half for the rest."""
    needed = {}
    for name in ("quick", "paper"):
        config = load_config(name)
        # A picture, the vector, and what a transition has besides: see agent/replay.py.
        slot = config.env.camera.size**2 + 4 * config.env.vector_size + 64
        steps = min(config.replay.capacity, config.train.steps)
        needed[name] = steps * slot + 1.5 * GIB
    text = f"{available / GIB:.1f} GiB free; " + ", ".join(
        f"preset {name} needs {size / GIB:.1f}" for name, size in needed.items()
    )
    if available < needed["quick"]:
        return InstallationCheck("memory", "fail", text, "end other programs")
    if available < needed["paper"]:
        return InstallationCheck("memory", "warning", text, "for the preset paper lower replay.capacity")
    return InstallationCheck("memory", "ok", text)


def check_disk() -> Iterator[InstallationCheck]:
    """Whether runs can be written here."""
    here = Path.cwd()
    if not os.access(here, os.W_OK):
        yield InstallationCheck("disk", "fail", f"{here} cannot be written", "change to another folder")
        return
    yield judge_disk(shutil.disk_usage(here).free, here)


def judge_disk(free: int, folder: Path) -> InstallationCheck:
    """Free space for checkpoints: of the preset quick two of 150 MB, of paper three of 7 GB."""
    text = f"{free / GIB:.1f} GiB free in {folder}"
    if free < GIB:
        return InstallationCheck("disk", "fail", text, "a run of the preset quick needs 1 GiB")
    if free < 25 * GIB:
        return InstallationCheck(
            "disk", "warning", text, "the preset paper needs 25 GiB: checkpoints hold the replay"
        )
    return InstallationCheck("disk", "ok", text)


def check_gpu() -> Iterator[InstallationCheck]:
    """The GPUs that torch sees, and why it sees none where there is one."""
    with contextlib.suppress(ImportError):
        import torch

        seen = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield judge_gpu(seen, torch.version.cuda, _nvidia_driver())


def judge_gpu(seen: list[str], cuda: str | None, driver: str | None) -> InstallationCheck:
    """``cuda``: what torch was built for; ``driver``: NVIDIA's, None where there is none."""
    if seen:
        return InstallationCheck(
            "GPU", "ok", f"{', '.join(seen)} (CUDA {cuda}, driver {driver or 'unknown'})"
        )
    if driver is None:
        return InstallationCheck("GPU", "ok", "none: torch computes on the processor")
    if cuda is None:
        return InstallationCheck(
            "GPU",
            "warning",
            f"there is one (driver {driver}), but torch was built without CUDA",
            "install a build of torch with CUDA",
        )
    return InstallationCheck(
        "GPU",
        "warning",
        f"there is one (driver {driver}), but torch (CUDA {cuda}) does not see it",
        "update the driver, or install a build of torch for an older CUDA; see CUDA_VISIBLE_DEVICES, too",
    )


def _nvidia_driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    return None


def check_film() -> Iterator[InstallationCheck]:
    """The encoder of films."""
    try:
        import imageio_ffmpeg

        yield InstallationCheck("films", "ok", f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        yield InstallationCheck("films", "warning", f"no ffmpeg: {error}", "pip install imageio-ffmpeg")


def check_ports() -> Iterator[InstallationCheck]:
    """CARLA's usual ports and the Traffic Manager's."""
    simulator = SimulatorConfig()
    names = {2000: "CARLA's", simulator.traffic_manager_port: "the Traffic Manager's"}
    taken = {port: whose for port, whose in names.items() if _listens(port)}
    if not taken:
        yield InstallationCheck("ports", "ok", f"{', '.join(map(str, names))} are free")
    for port, whose in taken.items():
        advice = f"if it is a CARLA server, ask it: av-td3 doctor --carla 127.0.0.1:{port}"
        if port != 2000:
            advice = "with other vehicles on a CARLA server another port is taken; nothing to do"
        yield InstallationCheck("ports", "ok", f"something listens on {port}, {whose} usual port", advice)


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1.0)
        return connection.connect_ex(("127.0.0.1", port)) == 0


def check_minicarla() -> Iterator[InstallationCheck]:
    """Start the bundled simulator, connect CARLA's client to it and let it tick."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = MinicarlaProcess(SimulatorConfig(), Path(folder) / "server.log", PROBE_S)
        except (LaunchError, SetupError, OSError) as error:
            yield InstallationCheck(
                "minicarla",
                "fail",
                str(error),
                "install it again, with a C compiler: pip install ./packages/minicarla",
            )
            return
        try:
            facts = ask(server.address, ticks=TICKS)
        except UserError as error:
            yield InstallationCheck(
                "CARLA client", "fail", str(error), "pip install carla==0.9.16 (Python 3.10 to 3.12)"
            )
            return
        finally:
            server.stop(grace_s=1.0)
        yield InstallationCheck("CARLA client", "ok", facts["client"])
        yield InstallationCheck(
            "minicarla", "ok", f"started on map {facts['map']}; the client made it tick {TICKS} times"
        )


def check_server(address: str) -> InstallationCheck:
    """The CARLA server at an address."""
    try:
        facts = ask(address)
    except UserError as error:
        return InstallationCheck(
            "CARLA server", "fail", f"{address}: {error}", "start it, or open its three ports to this machine"
        )
    return judge_server(address, facts)


def judge_server(address: str, facts: dict[str, Any]) -> InstallationCheck:
    """What the server says of itself; ``facts`` are those of ``av_td3.driving.probe``."""
    text = f"{address} is CARLA {facts['server']}"
    if "map" not in facts:
        return InstallationCheck(
            "CARLA server", "fail", text, f"the client is {facts['client']}: both must be the same version"
        )
    text += f", map {facts['map']}, {facts['vehicles']} vehicles"
    if facts["synchronous"]:
        return InstallationCheck(
            "CARLA server",
            "warning",
            f"{text}, in synchronous mode",
            "another client may step it: one server serves one environment at a time",
        )
    return InstallationCheck("CARLA server", "ok", text)


def ask(address: str, ticks: int = 0) -> dict[str, Any]:
    """Ask a server in a process of its own: CARLA's client can hang, or abort its process.

    Raises:
        UserError: no answer; the message says why.
    """
    command = [sys.executable, "-m", "av_td3.driving.probe", address, str(ticks)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"no answer within {PROBE_S:g} s", FAILED) from None
    if done.returncode:
        raise UserError(last_line(done.stderr), FAILED)
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


_STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "fail": "bold red"}


def _line(finding: InstallationCheck) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=7)
    grid.add_column(width=12, no_wrap=True)
    grid.add_column(overflow="fold")
    text = Text(finding.text)
    if finding.do:
        text.append(f"\n-> {finding.do}", style=_STYLES[finding.level] if finding.level != "ok" else "dim")
    grid.add_row(Text(finding.level, style=_STYLES[finding.level]), finding.name, text)
    return grid
