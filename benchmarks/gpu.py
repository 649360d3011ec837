"""Checks and times training on a GPU, with one command.

    python -m benchmarks.gpu [--wheels DIR] [--minutes 8] [--json FILE]

It needs this checkout, torch and numpy.  With --wheels, other packages that are missing are installed from a
folder of wheels into a folder of their own.  Without carla, or without minicarla's compiled modules and a
compiler to build them, the parts that need simulators are left out, and the table says so.

  check       updates on the GPU and on the CPU, in float32: the relative difference of the weights' changes
  update      updates/s: operation by operation (eager), CUDA graphs; batch 64, 256, 512; torch.compile with
              the middle one
  replay      milliseconds to sample, stack and deliver a batch, with the frames on the device and on the host
  acting      actions/s of one forward pass for N environments
  simulators  steps/s of N simulators without learning
  training    three minutes of the training loop with the number of simulators that was fastest: steps/s,
              updates/s and the time that a million steps would take

``--device cpu`` runs the same, without CUDA graphs, on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as the command does

ROOT = Path(__file__).parents[1]
SOURCES = [str(ROOT / "packages" / name / "src") for name in ("minicarla", "rundoctor", "av_td3")]
NEEDED = ("pydantic", "yaml", "rich", "gymnasium", "cv2", "psutil", "safetensors", "tensorboard")
SIMULATION = ("carla", "scipy", "msgpack", "minicarla.physics.kernels")
_BROUGHT = ("torch-", "numpy-", "nvidia_", "triton-")
"""Wheels that are left alone: the machine has its own."""


def missing(names: tuple[str, ...]) -> list[str]:
    """The names that cannot be imported."""

    def there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ImportError:
            return False

    return [name for name in names if not there(name)]


def prepare(wheels: Path | None) -> list[str]:
    """Install what is missing, and build what must be built; returns messages of what failed.

    Raises:
        SystemExit: a package is missing that everything needs.
    """
    sys.path[:0] = [path for path in (str(ROOT), *SOURCES) if path not in sys.path]
    told: list[str] = []
    if wheels is not None and missing((*NEEDED, *SIMULATION[:3])):
        target = tempfile.mkdtemp(prefix="av-td3-wheels-")
        for wheel in sorted(wheels.glob("*.whl")):
            if wheel.name.lower().startswith(_BROUGHT):
                continue
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
            done = subprocess.run(
                [*command, "--target", target, str(wheel)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                told.append(
                    f"{wheel.name} was not installed: {(done.stderr.strip() or '?').splitlines()[-1]}"
                )
        sys.path.append(target)
        importlib.invalidate_caches()
    if missing(SIMULATION[3:]):
        # The worker's processes import the modules from here, too.
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            build,
            cwd=ROOT / "packages" / "minicarla",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            told.append(f"minicarla was not built: {(done.stderr.strip() or '?').splitlines()[-1]}")
        importlib.invalidate_caches()
    if lacking := missing(NEEDED):
        raise SystemExit(
            f"missing: {', '.join(lacking)}.  Install them, or give a folder of wheels: --wheels"
        )
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, sys.path)))
    return told


class Report:
    """The rows that were measured, and the time that is left."""

    def __init__(self, minutes: float) -> None:
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._end = time.monotonic() + 60 * minutes

    @property
    def seconds_left(self) -> float:
        """Seconds until the command must have ended."""
        return self._end - time.monotonic()

    def add(self, part: str, what: str, value: float, unit: str) -> None:
        """Add a row, and print it at once, so that nothing is lost if the command is ended early."""
        self.rows.append({"part": part, "what": what, "value": value, "unit": unit})
        print(f"| {part} | {what} | {value:.4g} {unit} |", flush=True)

    @contextlib.contextmanager
    def part(self, name: str, seconds: float) -> Iterator[None]:
        """A part that takes about ``seconds``.  If it fails, that is reported, and the other parts follow."""
        try:
            if self.seconds_left < seconds:
                raise TimeoutError(f"{self.seconds_left:.0f} s left, and it takes {seconds:.0f}")
            yield
        except Exception as error:  # whatever fails on an unknown machine, the other parts are still useful
            self.left_out.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            print(f"| {name} | left out: {self.left_out[-1]} | |", flush=True)


def rate(call: Callable[[], object], device: Any, seconds: float) -> float:
    """Calls a second, measured after a few calls of warm-up."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(8):  # CUDA graphs record both kinds of update meanwhile
        call()
    wait()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        call()
        calls += 1
    wait()
    return calls / (time.perf_counter() - begin)


def main(words: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="packages for a machine without an index")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole command")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--train-seconds", type=float, default=180.0)
    parser.add_argument("--updates-per-step", type=float, default=0.25)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(words)
    if not options.minutes > 0 or min(*options.batches, *options.envs, 1) < 1:
        parser.error("minutes, batches and environments must be above 0")
    if options.wheels is not None and not options.wheels.is_dir():
        parser.error(f"there is no folder {options.wheels}")
    report = Report(options.minutes)
    for line in prepare(options.wheels):
        print(line, flush=True)
    try:
        measure(options, report)
    finally:
        if options.json is not None and report.rows:
            from benchmarks import common

            common.write_json(options.json, {"rows": report.rows, "left_out": report.left_out})
    return 0 if report.rows else 1


def measure(options: argparse.Namespace, report: Report) -> None:
    """Measure all parts, the most important first."""
    import torch

    from av_td3.config import ConfigError, load_config
    from av_td3.training import agents

    try:
        device = agents.resolve_device(options.device)
        graphs = "graphs" if device.type == "cuda" else "eager"
        base = load_config(options.preset, None, [f"train.device={options.device}", *options.set])
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    if base.train.threads:
        torch.set_num_threads(base.train.threads)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    print(f"{card}; torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    print("| part | what | |\n| --- | --- | --- |")
    report.rows.append({"part": "machine", "what": card, "value": os.cpu_count(), "unit": "cores"})
    seconds = options.seconds

    def agent_config(batch: int, **agent: Any) -> Any:
        changes = {"batch_size": batch, "critic_warmup": 0, **agent}
        return base.model_copy(update={"agent": base.agent.model_copy(update=changes)})

    with report.part("check", 5):
        for execution in dict.fromkeys(("eager", graphs)):
            difference = check(agent_config(options.batches[0], policy_noise=0.0), device, execution)
            report.add("check", f"{execution}, beside the CPU", difference, "relative difference")
    for batch in options.batches:
        for execution in dict.fromkeys(("eager", graphs)):
            with report.part(f"update {batch} {execution}", 2 * seconds):
                work = updating(agent_config(batch, execution=execution))
                report.add("update", f"batch {batch}, {execution}", rate(work, device, seconds), "updates/s")
    from benchmarks import common

    for batch in options.batches:
        for place in ("train", "cpu"):
            with report.part(f"replay {batch} {place}", 2 * seconds):
                work = common.sampling(agent_config(batch), device, place)
                name = f"batch {batch}, frames on the {'device' if place == 'train' else 'host'}"
                report.add("replay", name, 1e3 / rate(work, device, seconds), "ms a batch")
    for envs in options.envs:
        with report.part(f"acting {envs}", seconds):
            work = acting(base, envs)
            report.add("acting", f"{envs} environments", envs * rate(work, device, seconds / 2), "actions/s")
    if lacking := missing(SIMULATION):
        report.left_out.append(f"simulators and training: missing {', '.join(lacking)}")
        print(f"| simulators, training | left out: missing {', '.join(lacking)} | |")
    else:
        simulate(options, report, base, graphs)
    if not options.no_compile:
        batch = options.batches[len(options.batches) // 2]
        with report.part(f"update {batch} compile", 60):
            work = updating(agent_config(batch), compiled=True)
            report.add("update", f"batch {batch}, compile", rate(work, device, seconds), "updates/s")


def check(config: Any, device: Any, execution: str) -> float:
    """Norm of the difference of the weights after 12 updates, relative to the norm of their change."""
    import torch

    from av_td3.training import agents, arithmetic

    def after(place: str, how: str) -> list[Any]:
        changes = {
            "train": config.train.model_copy(update={"device": place}),
            "agent": config.agent.model_copy(update={"execution": how, "precision": "float32"}),
        }
        agent = agents.make_agent(config.model_copy(update=changes))
        batch = arithmetic.random_batch(config.model_copy(update=changes))
        start = [p.detach().cpu().clone() for m in agent.networks().values() for p in m.parameters()]
        for _ in range(12):
            agent.update(batch)
        ends = [p.detach().cpu() for m in agent.networks().values() for p in m.parameters()]
        return [torch.cat([(e - s).flatten() for e, s in zip(ends, start, strict=True)])]

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    (mine,), (theirs,) = after(str(device), execution), after("cpu", "eager")
    torch.backends.cudnn.allow_tf32 = True
    return float((mine - theirs).norm() / theirs.norm())


def updating(config: Any, compiled: bool = False) -> Callable[[], object]:
    """A function that makes an update on a batch on the device."""
    import torch

    from av_td3.training import agents, arithmetic

    agent, batch = agents.make_agent(config), arithmetic.random_batch(config)
    if compiled:
        for network in agent.networks().values():
            network.compile()
    for k in ("image", "next_image"):  # as the replay delivers them
        stacks = getattr(batch, k).contiguous(memory_format=torch.channels_last)
        object.__setattr__(batch, k, stacks)
    return lambda: agent.update(batch)


def acting(config: Any, envs: int) -> Callable[[], object]:
    """A function that makes one forward pass for several environments, from host to host."""
    import numpy as np

    from av_td3.training import agents

    agent = agents.make_agent(config)
    image = np.zeros(agents.image_shape(config), np.uint8)
    seen = {"image": image, "vector": np.zeros(config.env.vector_size, np.float32)}
    return lambda: agents.act(agent, [seen] * envs)


def simulate(options: argparse.Namespace, report: Report, base: Any, execution: str) -> None:
    """Simulators alone, then the training loop with the number of them that was fastest."""
    from av_td3.supervision.memory import check_memory
    from benchmarks.many_simulators import Contender

    best, fastest = 1, 0.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for envs in options.envs:
            # Keep the time for the training: it matters more than one more number of simulators.
            with report.part(f"simulators {envs}", 20 + 2 * envs + options.train_seconds):
                check_memory(base.env, envs)
                with contextlib.closing(Contender(base, envs, False, 20 * envs, folder)) as contender:
                    contender.drive(20 * envs)
                    steps_per_s = contender.drive(10**9, 2 * options.seconds)
                report.add("simulators", f"{envs}, no learning", steps_per_s, "steps/s")
                if steps_per_s > fastest:
                    best, fastest = envs, steps_per_s
        seconds = min(options.train_seconds, report.seconds_left - 20)
        with report.part("training", 30):
            config = base.model_copy(
                update={
                    "agent": base.agent.model_copy(
                        update={"execution": execution, "batch_size": options.batches[-1]}
                    ),
                    "train": base.train.model_copy(update={"updates_per_step": options.updates_per_step}),
                }
            )
            warm_up = 4 * options.batches[-1]
            with contextlib.closing(Contender(config, best, True, warm_up, folder)) as contender:
                contender.drive(warm_up)
                before = contender.state.agent.updates
                begin = time.perf_counter()
                steps_per_s = contender.drive(10**9, max(1.0, seconds - 15))
                updates = (contender.state.agent.updates - before) / (time.perf_counter() - begin)
            what = f"{best} environments, batch {options.batches[-1]}, {execution}"
            report.add("training", what, steps_per_s, "steps/s")
            report.add("training", what, updates, "updates/s")
            report.add("training", "a million steps", 1e6 / max(steps_per_s, 1e-9) / 60, "minutes")


if __name__ == "__main__":
    sys.exit(main())
