"""The connection to a Ray cluster: joined and examined before anything is started on it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from av_td3.cluster.host import Facts, SimulatorHost, facts
from av_td3.cluster.remote import HostFailure, Pace, RemoteCrews
from av_td3.errors import BAD_INPUT, UserError

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, started for the run and ended with it."""
REACH_S = 5.0
"""How long the head of a cluster may take to accept a connection."""
EXAMINE_S = 180.0
"""How long the nodes may take to say what they have."""
AVOID_S = 120.0
"""How long nothing is started on a node whose host did not answer, if there is another."""
LOCAL_TRIES = 4
"""How often a cluster of this machine is started: on a busy one it may be late."""
LOCAL_STORE = 80 << 20
"""Bytes of Ray's object store in a local cluster: next to nothing goes through it."""


@dataclass(frozen=True, eq=False)
class Node:
    """A machine of the cluster, alive when it was asked."""

    id: str
    name: str
    address: str
    resources: Mapping[str, float]

    def room(self, needs: Mapping[str, float]) -> int:
        """How many processes with these needs it has room for when it is idle."""
        return min(int(self.resources.get(name, 0.0) / amount) for name, amount in needs.items())


def parse_needs(text: str) -> dict[str, float]:
    """What one process takes of its node: ``CPU=2,GPU=0.25,carla=1``, names as Ray has them.

    Raises:
        UserError: it cannot be read.
    """
    needs: dict[str, float] = {}
    for part in text.split(","):
        name, separator, amount = part.strip().partition("=")
        try:
            needs[name] = float(amount)
        except ValueError:
            needs[name] = 0.0
        if not separator or not name or not 0.0 < needs[name] < 1e6:
            raise UserError(f"--ray-needs {text}: give NAME=AMOUNT,... such as CPU=2,GPU=0.25", BAD_INPUT)
    return needs


def import_ray() -> ModuleType:
    """Ray.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of each start
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"--ray needs Ray, which is not installed ({error}): pip install './packages/av_td3[ray]' in the "
            "repository's folder",
            BAD_INPUT,
        ) from None
    return ray


@contextlib.contextmanager
def joined(address: str, wanted: int, needs: Mapping[str, float]) -> Iterator[Cluster]:
    """Join a cluster, and leave it again; what was started in it ends then.

    Args:
        address: ``host:port`` of its head, or ``local``.
        wanted: how many processes are to run at once.
        needs: what each takes of its node.

    Raises:
        UserError: Ray is not installed, nothing answers at the address, a node has other software, or there
            is not enough room.  Nothing was started then.
    """
    if address == LOCAL:
        _keep_to_this_machine()
        amounts = {name: amount * wanted for name, amount in needs.items()}
        arguments: dict[str, Any] = {
            "address": "local",  # a new one, also where another runs on this machine or RAY_ADDRESS is set
            "num_cpus": amounts.pop("CPU", wanted),
            "num_gpus": amounts.pop("GPU", 0),
            "resources": amounts,
            "object_store_memory": LOCAL_STORE,
            "include_dashboard": False,
        }
    else:
        _reach(address)
        arguments = {"address": address}
    ray = import_ray()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _start(ray, address, arguments)
    finally:
        # Ray sets its own, which end the process without a checkpoint.
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):  # not the main thread
                signal.signal(number, handler)
    try:
        cluster = Cluster(ray, address, needs)
        cluster.check_room(wanted)
        if address != LOCAL:
            cluster.check_software()
        yield cluster
    finally:
        ray.shutdown()


def _start(ray: Any, address: str, arguments: Mapping[str, Any]) -> None:
    """Join the cluster.  One of this machine may need several tries: Ray gives itself 30 s to start."""
    tries = LOCAL_TRIES if address == LOCAL else 1
    others = set(psutil.Process().children(recursive=True))
    for left in reversed(range(tries)):
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **arguments)
            return
        except Exception as error:
            with contextlib.suppress(Exception):
                ray.shutdown()
            for process in set(psutil.Process().children(recursive=True)) - others:
                with contextlib.suppress(psutil.Error):
                    process.kill()  # what Ray had started until then
            if left and "timed out" in str(error):
                continue
            advice = "" if address == LOCAL else f" {_ADVICE}"
            raise UserError(
                f"cannot join the Ray cluster {address}: {_first_line(error)}.{advice}", BAD_INPUT
            ) from None


def _keep_to_this_machine() -> None:
    """Settings of a cluster that nobody else is to reach.  Ray reads them when it is imported."""
    if "RAY_AUTH_TOKEN" in os.environ and os.environ.get("RAY_AUTH_MODE") == "token":
        token = os.environ["RAY_AUTH_TOKEN"]  # this process has had one before
    elif sys.modules.get("ray") is not None:
        raise RuntimeError("a local cluster has to be joined before ray is imported")
    else:
        token = secrets.token_hex(32)
    os.environ |= {
        # Ray's own switch for systems where it must not listen on other interfaces than loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Whoever reaches a cluster's ports can run code: other users of this machine have no token.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        # Without it simulators give way to everything else.
        "RAY_worker_niceness": "0",
    }


_ADVICE = (
    "On the first machine: ray start --head --port 6379; on every other machine, the learner's included: "
    "ray start --address HOST:6379. See docs/many-machines.md"
)


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--ray {address}: give HOST:PORT of the cluster's head, or local", BAD_INPUT)
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}). {_ADVICE}", BAD_INPUT) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Cluster:
    """A cluster that this process has joined."""

    def __init__(self, ray: Any, address: str, needs: Mapping[str, float]) -> None:
        self._ray, self.address, self.needs = ray, address, dict(needs)
        self._pace = Pace()
        self._avoided: dict[str, float] = {}

    def nodes(self) -> list[Node]:
        """The machines that are alive."""
        return [
            Node(node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"], node["Resources"])
            for node in self._ray.nodes()
            if node["Alive"]
        ]

    def crews(self) -> RemoteCrews:
        """For one environment: its crews run on nodes of this cluster."""
        return RemoteCrews(self._start_host)

    def described(self) -> str:
        """The cluster in one line."""
        nodes = self.nodes()
        room = sum(node.room(self.needs) for node in nodes)
        what = f"room for {room} processes of {in_words(self.needs)}"
        return f"Ray cluster {self.address}: {len(nodes)} {'node' if len(nodes) == 1 else 'nodes'}, {what}"

    def check_room(self, wanted: int) -> None:
        """Whether so many processes can run at once.

        Raises:
            UserError: they cannot; the message has the figures of each node.
        """
        nodes = self.nodes()
        rooms = [node.room(self.needs) for node in nodes]
        each = ", ".join(f"{node.name} {room}" for node, room in zip(nodes, rooms, strict=True))
        if sum(rooms) < wanted:
            raise UserError(
                f"the Ray cluster {self.address} has room for {sum(rooms)} processes of "
                f"{in_words(self.needs)} ({each}); {wanted} are wanted, evaluation's included. Add nodes, or "
                "lower --envs or --ray-needs",
                BAD_INPUT,
            )
        free = self._ray.available_resources()
        left = min(int(free.get(name, 0.0) / amount) for name, amount in self.needs.items())
        if left < wanted:
            raise UserError(
                f"others use the Ray cluster {self.address}: {left} processes of {in_words(self.needs)} fit "
                f"now, of {sum(rooms)} when it is idle; {wanted} are wanted",
                BAD_INPUT,
            )

    def check_software(self) -> None:
        """Whether all nodes have the software of this machine.

        Raises:
            UserError: the message names those that have not.
        """
        own, wrong = facts(), list[str]()
        for node, theirs in self.ask_all(facts, (), EXAMINE_S):
            if isinstance(theirs, Exception):
                wrong.append(f"{node} does not say what it has: {_last_line(theirs)}")
            else:
                wrong += [f"{node} has {text}" for text in differing(own, theirs)]
        if wrong:
            raise UserError(
                f"the nodes must have the software of this machine, av-td3 {own['version']} on Python "
                f"{own['python']}: {'; '.join(wrong)}",
                BAD_INPUT,
            )

    def ask_all(
        self, question: Callable[..., Any], arguments: tuple[Any, ...], limit_s: float
    ) -> list[tuple[str, Any]]:
        """Each node that has room, in words, and what it answers; an exception when it did not."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self._ray.remote(num_cpus=0, max_retries=0)(question)
        asked = {
            node: ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                *arguments
            )
            for node in self.nodes()
            if node.room(self.needs)
        }
        deadline, answers = time.monotonic() + limit_s, list[tuple[str, Any]]()
        for node, asked_for in asked.items():
            try:
                answer = self._ray.get(asked_for, timeout=max(0.1, deadline - time.monotonic()))
            except self._ray.exceptions.RayError as error:
                answer = error
            answers.append((f"{node.name} ({node.address})", answer))
        return answers

    def _start_host(self, logs: Path, name: str, limit_s: float) -> RayHost:
        self._pace.wait()
        actor = self._ray.remote(_Host).options(
            max_restarts=-1,  # its process is started again, empty; what it did is never repeated
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            label_selector=self._elsewhere(),
            **requested(self.needs),
        )
        return RayHost(self, actor.remote(str(logs), name), limit_s)

    def _elsewhere(self) -> dict[str, str]:
        """Where nothing is to be started: on nodes whose hosts did not answer lately, if there are others."""
        now = time.monotonic()
        self._avoided = {node: until for node, until in self._avoided.items() if until > now}
        others = [node for node in self.nodes() if node.id not in self._avoided and node.room(self.needs)]
        return (
            {"ray.io/node-id": f"!in({','.join(sorted(self._avoided))})"} if self._avoided and others else {}
        )

    def avoid(self, node: str) -> None:
        """Start nothing on this node for a while."""
        self._avoided[node] = time.monotonic() + AVOID_S


def check_folder(cluster: Cluster, folder: Path) -> None:
    """Whether all nodes see the sweep's folder, and may write into it.

    Raises:
        UserError: the message names those that do not.
    """
    token = folder / f".seen-{secrets.token_hex(8)}"
    token.touch()
    try:
        answers = cluster.ask_all(sees, (str(token),), EXAMINE_S)
    finally:
        token.unlink(missing_ok=True)
    blind = [name for name, seen in answers if seen is not True]
    if blind:
        raise UserError(
            f"{folder} cannot be written on {', '.join(blind)}: a sweep on several machines needs a folder "
            "on storage that they share, under the same path. Choose one with --into",
            BAD_INPUT,
        )


def sees(path: str) -> bool:
    """Whether the file is there, and its folder can be written."""
    return os.path.exists(path) and os.access(os.path.dirname(path), os.W_OK)


class _Host(SimulatorHost):
    """The actor: the host, and where it runs."""

    def __init__(self, logs: str, name: str) -> None:
        import ray

        self._node = ray.get_runtime_context().get_node_id()
        super().__init__(logs, name, str(ray.util.get_node_ip_address()))  # type: ignore[no-untyped-call]

    def node(self) -> tuple[str, str]:
        """Ray's id of the node, and its name."""
        return self._node, socket.gethostname()


class RayHost:
    """A host in a Ray actor.

    Raises:
        HostFailure: it did not start in time.
    """

    def __init__(self, cluster: Cluster, actor: Any, limit_s: float) -> None:
        self._cluster, self._actor, self._ray = cluster, actor, cluster._ray
        self._node = ""
        self.where = "a node that is still sought"
        try:
            self._look_where(limit_s)
        except HostFailure:
            self.drop()
            raise

    def _look_where(self, limit_s: float) -> None:
        self._node, name = self.call("node", timeout_s=limit_s)
        self.where = f"node {name} ({self._node[:8]})"

    def is_back(self, within_s: float) -> bool:
        """See ``remote.Host``."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                self._look_where(max(0.1, deadline - time.monotonic()))
                return True
            except HostFailure:  # at once while Ray does not know yet what has happened
                time.sleep(0.2)
        return False

    def call(self, method: str, *arguments: Any, timeout_s: float) -> Any:
        """See ``remote.Host``."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(getattr(self._actor, method).remote(*arguments), timeout=timeout_s)
        except errors.GetTimeoutError:
            raise HostFailure("host-silent", f"its host has not answered for {timeout_s:g} s") from None
        except errors.RayActorError as error:
            raise HostFailure("host-died", f"its host ended ({type(error).__name__})") from None
        except errors.RayError as error:
            raise HostFailure("host-silent", f"its host failed: {_last_line(error)}") from None

    def tell(self, method: str, *arguments: Any) -> None:
        """See ``remote.Host``."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            getattr(self._actor, method).remote(*arguments)

    def drop(self, avoid: bool = False) -> None:
        """See ``remote.Host``."""
        if avoid and self._node:
            self._cluster.avoid(self._node)
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)


def differing(own: Facts, theirs: Facts) -> Sequence[str]:
    """What another node has that does not fit."""
    if own["python"] != theirs["python"]:
        return [f"Python {theirs['python']}"]
    if own["version"] != theirs["version"]:
        return [f"av-td3 {theirs['version']}"]
    return (
        []
        if own["sources"] == theirs["sources"]
        else ["other source files of av_td3, minicarla or rundoctor"]
    )


def requested(needs: Mapping[str, float]) -> dict[str, Any]:
    """The needs as Ray's options."""
    left = dict(needs)
    return {"num_cpus": left.pop("CPU", 0.0), "num_gpus": left.pop("GPU", 0.0), "resources": left}


def in_words(needs: Mapping[str, float]) -> str:
    """Such as ``1 CPU and 0.25 GPU``."""
    return " and ".join(f"{amount:g} {name}" for name, amount in needs.items())


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
