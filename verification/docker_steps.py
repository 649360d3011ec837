"""Follows the Dockerfiles step by step in clean folders, where no Docker daemon runs.

    sudo python -m verification.docker_steps minicarla            # docker/minicarla.Dockerfile
    sudo python -m verification.docker_steps trainer --bind /opt/wheels -- train --preset debug

Each ``FROM python:...`` becomes a minimal Debian made by ``debootstrap``, with Debian's own Python 3.11; each
``COPY`` takes what ``.dockerignore`` lets through; each ``RUN`` is run inside by ``chroot``, as the ``USER``
of that point.  The entry point of the last stage is then started as its user and as process 1, with the
arguments after ``--`` or those of ``CMD``.  The health check must pass, and the program must end with status
0: by itself where arguments are given, else when it is told to.  It needs root, Linux, and Debian's package
``debootstrap``.  Mounts and processes lie in namespaces of their own and end with the command.

What differs from Docker: the base is not the image of Docker Hub, there are no layers, and the network is
this machine's.  ``PIP_`` variables and certificates of this machine are used inside, so that a mirror of its
own works; ``--bind DIR`` shows a folder of this machine inside, such as one with wheels.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEALTHY_WITHIN_S = 180.0
ENDS_WITHIN_S = 60.0
BASE_PACKAGES = "ca-certificates,libpython3-dev,python3,python3-venv,python-is-python3"
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StepError(Exception):
    """A step has failed; the message names it."""


def instructions(file: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, with continued lines joined."""
    text = re.sub(r"\\\n", " ", file.read_text("utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the build; its last pattern that matches decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.strip().removeprefix("!").removeprefix("**/")
        if not pattern or line.startswith("#"):
            continue
        parts = Path(path).parts
        places = ["/".join(parts[: i + 1]) for i in range(len(parts))] + list(parts)
        if any(fnmatch.fnmatch(place, pattern) for place in places):
            out = not line.startswith("!")
    return out


class Stage:
    """One stage of a Dockerfile: a root folder, and what its instructions have set so far.

    Args:
        root: the stage's root folder, which exists.
        args: values of ``--build-arg``.
        binds: folders of this machine that are shown inside.
    """

    def __init__(self, root: Path, args: dict[str, str], binds: Sequence[Path]) -> None:
        self.root, self.given, self.binds = root, args, binds
        self.args: dict[str, str] = {}
        self.env = {"PATH": BASE_PATH}
        self.user, self.folder = "root", "/"
        self.health: list[str] | None = None
        self.entry: list[str] = []
        self.command: list[str] = []

    def follow(self, name: str, arguments: str, stages: dict[str, Stage]) -> None:
        """Follow one instruction.

        Raises:
            StepError: it fails, or is one that this program does not know.
        """
        if name == "RUN":
            self._run(arguments)
        elif name == "COPY":
            self._copy(shlex.split(arguments), stages)
        elif name == "ARG":
            key, _, default = arguments.partition("=")
            self.args[key] = self.given.get(key, default.strip('"'))
        elif name == "ENV":
            for word in shlex.split(arguments):
                key, _, value = word.partition("=")
                self.env[key] = self._filled(value)
        elif name == "WORKDIR":
            self.folder = arguments
            if not self._inside(arguments).is_dir():
                self._inside(arguments).mkdir(parents=True)
        elif name == "USER":
            self.user = arguments
        elif name == "HEALTHCHECK":
            self.health = json.loads(arguments.partition("CMD")[2])
        elif name == "ENTRYPOINT":
            self.entry = json.loads(arguments)
        elif name == "CMD":
            self.command = json.loads(arguments)
        elif name not in ("EXPOSE", "VOLUME"):
            raise StepError(f"{name}: this program does not know that instruction")

    def start(self, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a program inside, as the stage's user; what it prints goes to ``log``."""
        with open(log, "wb") as out:
            return subprocess.Popen(
                self._command(words), stdout=out, stderr=subprocess.STDOUT, env=self._env()
            )

    def call(self, words: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, with more environment variables."""
        env = self._env() | variables
        return subprocess.run(self._command(words), capture_output=True, text=True, env=env)

    def _run(self, line: str) -> None:
        done = self.call(["/bin/sh", "-c", line], **self.args)  # an ARG is there while the image is built
        if done.returncode:
            raise StepError(f"RUN {line}: status {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")

    def _copy(self, words: list[str], stages: dict[str, Stage]) -> None:
        source_root = ROOT
        if words[0].startswith("--from="):
            source_root = stages[words.pop(0).removeprefix("--from=")].root
        *sources, target = words
        for source in sources:
            origin = source_root / source.lstrip("/")
            place = self._inside(target)
            if origin.is_file() and target.endswith("/"):
                place /= origin.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source_root != ROOT:
                shutil.copytree(origin, place, symlinks=True)
            elif origin.is_file():
                shutil.copy2(origin, place)
            else:
                shutil.copytree(origin, place, ignore=_left_out)

    def _inside(self, path: str) -> Path:
        return self.root / os.path.join(self.folder, path).lstrip("/")

    def _filled(self, value: str) -> str:
        known = self.args | self.env
        return re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], ""), value)

    def _env(self) -> dict[str, str]:
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        return pip | self.env | {"HOME": f"/home/{self.user}" if self.user != "root" else "/root"}

    def _command(self, words: Sequence[str]) -> list[str]:
        """The words that start a program inside: mounts that end with it, then chroot, then ``words``."""
        steps = [
            ["mount", "-t", "proc", "proc", f"{self.root}/proc"],
            ["mount", "--rbind", "/dev", f"{self.root}/dev"],
        ]
        for folder in self.binds:
            inside = f"{self.root}{folder}"
            steps += [["mkdir", "-p", inside], ["mount", "--bind", str(folder), inside]]
        user = [
            "setpriv",
            f"--reuid={self.user}",
            f"--regid={self.user}",
            "--init-groups",
            "--pdeathsig=KILL",
        ]
        inner = ["/bin/sh", "-c", f'cd {shlex.quote(self.folder)} && exec "$@"', "sh", *words]
        steps.append(["exec", "chroot", str(self.root), *user, *inner])
        script = " && ".join(shlex.join(step) for step in steps)
        # Where unshare is killed, the kernel kills process 1 inside, and with it all others there.
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script]


def _left_out(folder: str, names: list[str]) -> set[str]:
    """For ``shutil.copytree``: what .dockerignore keeps out."""
    inside = Path(folder).relative_to(ROOT)
    return {name for name in names if ignored(str(inside / name))}


def base(work: Path, suite: str) -> Path:
    """A minimal Debian with Python; made once in ``work``.

    Raises:
        StepError: debootstrap fails.
    """
    root = work / "base"
    if not root.exists():
        fresh = work / "base.new"
        shutil.rmtree(fresh, ignore_errors=True)
        say(f"debootstrap {suite}")
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", suite, str(fresh)],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise StepError(f"debootstrap: status {made.returncode}: {(made.stdout + made.stderr)[-1000:]}")
        for name in ("/etc/ssl/certs/ca-certificates.crt", "/etc/resolv.conf"):
            if Path(name).exists():
                shutil.copy(name, f"{fresh}{name}")
        fresh.rename(root)
    return root


def build(file: Path, work: Path, args: dict[str, str], binds: Sequence[Path], suite: str) -> Stage:
    """Follow a Dockerfile; return its last stage.

    Raises:
        StepError: a step fails.
    """
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, arguments in instructions(file):
        began = time.monotonic()
        if name == "FROM":
            label = arguments.partition(" AS ")[2] or str(len(stages))
            root = work / f"{file.stem}-{label}"
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", str(base(work, suite)), str(root)], check=True)
            stage = stages[label] = Stage(root, args, binds)
        elif stage is None:
            raise StepError(f"{name} before FROM")
        else:
            stage.follow(name, arguments, stages)
        say(f"{time.monotonic() - began:6.1f} s  {name} {arguments[:80]}")
    if stage is None or not stage.entry:
        raise StepError(f"{file.name} has no ENTRYPOINT")
    return stage


def try_out(stage: Stage, command: Sequence[str], log: Path) -> None:
    """Start the entry point; the health check must pass, and the program must end.

    Raises:
        StepError: it does not.
    """
    words = [*stage.entry, *(command or stage.command)]
    program = stage.start(words, log)

    def failed(what: str) -> StepError:
        return StepError(f"{shlex.join(words)}: {what}\n{log.read_text('utf-8')[-3000:]}")

    try:
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while stage.health and stage.call(stage.health).returncode:
            if program.poll() is not None or time.monotonic() > deadline:
                raise failed("the health check does not pass")
            time.sleep(1.0)
        say("the health check passes")
        if not command:
            [child] = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGTERM)
        try:
            program.wait(None if command else ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise failed("it goes on after SIGTERM") from None
        if program.returncode:
            raise failed(f"status {program.returncode}")
        say(f"{shlex.join(words)} ends {'by itself' if command else 'when told to'}, as {stage.user}")
    finally:
        program.kill()


def say(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=sorted(f.stem for f in (ROOT / "docker").glob("*.Dockerfile")))
    parser.add_argument(
        "--work", type=Path, default=Path("/var/tmp/docker-steps"), help="where the folders lie"
    )
    parser.add_argument("--suite", default="bookworm", help="Debian's release")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="a folder to show inside")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.epilog = "After -- come arguments in place of CMD; with them the program must end by itself."
    words = list(sys.argv[1:] if argv is None else argv)
    own = words.index("--") if "--" in words else len(words)
    given, command = parser.parse_args(words[:own]), words[own + 1 :]
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        parser.error("it needs root and Debian's package debootstrap")
    given.work.mkdir(parents=True, exist_ok=True)
    file = ROOT / "docker" / f"{given.name}.Dockerfile"
    args = dict(word.split("=", 1) for word in given.build_arg)
    try:
        stage = build(file, given.work, args, given.bind, given.suite)
        try_out(stage, command, given.work / f"{given.name}.log")
    except StepError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
