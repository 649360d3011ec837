"""A worker on another machine: the learner's half and the node's half, without Ray between them.

Real minicarla, real client, real signals, real TCP.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

import numpy as np
import psutil
import pytest

from av_td3.cluster import remote
from av_td3.cluster.host import SimulatorHost
from av_td3.cluster.remote import HostFailure, Pace, RemoteCrews
from av_td3.config import EnvConfig
from av_td3.driving.errors import SetupError
from av_td3.supervision import protocol
from av_td3.supervision.supervised import SupervisedEnv

ACTION = np.array([0.0, 0.4], np.float32)


def config(**simulator):
    timing = {"client_timeout_s": 5, "step_deadline_s": 10, "reset_deadline_s": 30}
    return EnvConfig.model_validate({"simulator": {"map": "loop", **timing, **simulator}})


class DirectHost:
    """A host that is called in this process, in a thread of its own, as an actor's methods are."""

    def __init__(self, logs, name, number):
        self.host, self.where = SimulatorHost(str(logs), name, "127.0.0.1"), f"node {number}"
        self.thread = ThreadPoolExecutor(1)
        self.dropped: bool | None = None
        """Whether its node is avoided; None while it is not dropped."""
        self.failure: HostFailure | None = None

    def call(self, method, *arguments, timeout_s):
        if self.failure is not None:
            raise self.failure
        if self.dropped is not None:
            raise HostFailure("host-died", "its host ended")
        try:
            return self.thread.submit(getattr(self.host, method), *arguments).result(timeout_s)
        except Late:
            raise HostFailure("host-silent", f"its host has not answered for {timeout_s:g} s") from None

    def is_back(self, within_s):
        return self.failure is None

    def tell(self, method, *arguments):
        if self.dropped is None:
            self.thread.submit(getattr(self.host, method), *arguments)

    def drop(self, avoid=False):
        if self.dropped is None:
            self.dropped = avoid
            self.thread.submit(self.host.close)
            self.thread.shutdown(wait=False)


@pytest.fixture
def hosts():
    """Those that were started."""
    started = []
    yield started
    for host in started:
        host.drop()
        host.thread.shutdown(wait=True)


@pytest.fixture
def remote_env(hosts, tmp_path):
    """Makes an environment whose worker is on a host."""

    def start(logs, name, limit_s):
        hosts.append(DirectHost(logs, name, len(hosts)))
        return hosts[-1]

    with contextlib.ExitStack() as stack:

        def make(logs=tmp_path, render_mode=None, **simulator):
            env = SupervisedEnv(
                config(**simulator), log_dir=logs, render_mode=render_mode, crews=RemoteCrews(start)
            )
            stack.callback(env.close)
            return env

        yield make


def kinds(env):
    return [incident.kind for incident in env.incidents]


def gone(pids, within=10.0):
    deadline = time.monotonic() + within
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_it_drives_and_films_as_on_one_machine(remote_env, hosts):
    """Every observation, reward, info and frame of a film, bit for bit."""
    options = {"record": True}
    with contextlib.closing(SupervisedEnv(config(), render_mode="rgb_array")) as local:
        env = remote_env(render_mode="rgb_array")
        for one, other in zip(
            local.reset(seed=5, options=options), env.reset(seed=5, options=options), strict=True
        ):
            np.testing.assert_equal(one, other)
        frames = []
        for _ in range(10):
            np.testing.assert_equal(local.step(ACTION), env.step(ACTION))
            frames.append(env.render())
            np.testing.assert_equal(local.render(), frames[-1])
    assert frames[0].shape == (270, 480, 3) and (frames[0] != frames[-1]).any()
    crew = env._mine.crew
    pids = [crew.facts["server_pid"], crew.facts["worker_pid"]]
    assert (env.log_dir / "train-worker.log").exists() and env.server_address == crew.facts["server"]
    env.close()
    assert hosts[0].dropped is False and gone(pids)


@pytest.mark.slow
def test_worker_and_server_that_die_or_hang_are_named_and_replaced_on_the_same_host(remote_env, hosts):
    env = remote_env(step_deadline_s=2.0)
    env.reset(seed=1)
    for who, number, kind, says in (
        ("server_pid", signal.SIGKILL, "server-died", "killed by SIGKILL"),
        ("worker_pid", signal.SIGKILL, "worker-died", "killed by SIGKILL"),
        ("worker_pid", signal.SIGSTOP, "deadline", "no answer within the deadline"),
    ):
        before = env.step(ACTION)[0]
        facts = env._mine.crew.facts
        os.kill(facts[who], number)
        observation, reward, terminated, truncated, info = env.step(ACTION)
        assert (reward, terminated, truncated) == (0.0, False, True)
        assert info["termination"] == "simulator_fault" and says in info["fault"], (kind, info)
        np.testing.assert_equal(observation, before)
        env.reset(seed=2)
        assert kinds(env)[-1] == kind and gone([facts["server_pid"], facts["worker_pid"]])
    assert env.restarts == 3 and len(hosts) == 1 and env.step(ACTION)[4]["frame"] == 1


@pytest.mark.slow
def test_a_host_that_ends_or_is_silent_is_started_again_or_given_up(remote_env, hosts):
    env = remote_env(step_deadline_s=2.0)
    env.reset(seed=1)

    # Ray starts the same actor again, in a process that knows nothing of the one before.
    old, hosts[0].host = hosts[0].host, SimulatorHost(str(env.log_dir), "train", "127.0.0.1")
    old.close()  # its process ended, and all below it
    assert "was started anew" in env.step(ACTION)[4]["fault"]
    env.reset(seed=2)
    assert kinds(env) == ["host-died"] and len(hosts) == 1 and hosts[0].dropped is None

    # Its node is gone.  That is one failure, however long Ray takes to notice.
    hosts[0].host.close()
    hosts[0].failure = HostFailure("host-died", "its host ended")
    assert env.step(ACTION)[4]["fault"] == "node 0: its host ended"
    env.reset(seed=3)
    assert kinds(env) == ["host-died"] * 2 and len(hosts) == 2 and hosts[0].dropped is True

    # It does not answer.
    os.kill(env._mine.crew.facts["worker_pid"], signal.SIGSTOP)
    hosts[1].failure = HostFailure("host-silent", "its host has not answered for 5 s")
    assert env.step(ACTION)[4]["fault"] == "node 1: its host has not answered for 5 s"
    env.reset(seed=4)
    assert kinds(env)[2:] == ["host-silent"] and len(hosts) == 3
    assert hosts[1].dropped is True, "its node is avoided"
    assert env.incidents[2].action.endswith("a new worker and a new server")


def test_what_cannot_be_is_refused_once(remote_env, hosts):
    env = remote_env(faults="no-such-fault")
    with pytest.raises(SetupError, match="no-such-fault"):
        env.reset(seed=1)
    assert env.incidents == [] and len(hosts) == 1


def test_a_wait_that_is_given_up(remote_env, hosts):
    env = remote_env()
    env.reset(seed=1)
    caught = []

    def wait():
        with pytest.raises(Exception, match="closed"):
            env.step(ACTION)
        caught.append(True)

    os.kill(env._mine.crew.facts["worker_pid"], signal.SIGSTOP)
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    env.abort()
    thread.join(20)
    assert caught == [True]


def test_where_the_runs_folder_does_not_exist_logs_are_temporary(tmp_path):
    host = SimulatorHost(str(tmp_path / "elsewhere"), "train", "127.0.0.1")
    folder = host._logs
    assert folder.is_dir() and folder != tmp_path / "elsewhere"
    host.close()
    assert not folder.exists()


def test_strangers_are_not_served(tmp_path):
    """Who does not say the token gets nothing, and does not keep the learner out."""
    host = SimulatorHost(str(tmp_path), "train", "127.0.0.1")
    endpoint = host.listen()
    where = endpoint["address"], endpoint["port"]
    with socket.create_connection(where) as stranger, socket.create_connection(where) as mute:
        stranger.sendall(b"x" * 32)
        mute.close()
        with ThreadPoolExecutor(1) as pool:
            manned = pool.submit(host.man, config().simulator.model_dump(mode="json"), "train")
            stranger.settimeout(10)
            assert stranger.recv(1) == b""
            with contextlib.closing(remote.connected(endpoint)):
                assert manned.result(60)["server_pid"]
    host.close()


class Peer:
    """A worker that says what it likes."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(remote, "SILENCE_S", 1.0)
        listener = socket.create_server(("127.0.0.1", 0))
        endpoint = {"address": "127.0.0.1", "port": listener.getsockname()[1], "token": b"t" * 32}
        connection = remote.connected(endpoint)
        self.end, _ = listener.accept()
        listener.close()

        class Host:
            where = "node x"

            def call(self, method, *arguments, timeout_s):
                return {"kind": "worker-died", "text": "the worker ended", "output": ""}

            def tell(self, method, *arguments):
                pass

        self.crew = remote.RemoteCrew.__new__(remote.RemoteCrew)
        self.crew._connection, self.crew._host, self.crew._slot = connection, Host(), 0
        self.crew._crews, self.crew._server = RemoteCrews(lambda *_: Host()), None
        self.crew._memory = protocol.ObservationMemory(config())

    def says(self, data):
        self.end.sendall(len(data).to_bytes(4, "big") + data)


@pytest.mark.parametrize("what", ["half a message", "too long", "no map", "half an observation", "nothing"])
def test_a_worker_that_talks_nonsense_is_an_incident(monkeypatch, what):
    import msgpack

    peer = Peer(monkeypatch)
    if what == "half a message":
        peer.end.sendall((1000).to_bytes(4, "big") + b"x")
    elif what == "too long":
        peer.end.sendall((2**31 - 1).to_bytes(4, "big") + b"x" * 100)
    elif what == "no map":
        peer.says(msgpack.packb([1, 2]))
    elif what == "half an observation":
        peer.says(msgpack.packb({"ok": True, "image": b"x", "vector": b"y"}))
    else:
        peer.end.close()
    began = time.monotonic()
    with pytest.raises(remote.CrewFailure):
        peer.crew.answer(time.monotonic() + 20)
    assert time.monotonic() - began < 15
    peer.crew.kill()


def test_an_observation_arrives_as_it_was_sent():
    memory, other = (protocol.ObservationMemory(config()) for _ in range(2))
    slot = memory.slots[0]
    generator = np.random.default_rng(1)
    for array in slot:
        array[...] = generator.integers(0, 255, array.shape).astype(array.dtype)
    protocol.unpack(protocol.packed(slot, video=True), other.slots[1])
    for one, two in zip(slot, other.slots[1], strict=True):
        assert np.array_equal(one, two)
    with pytest.raises(ValueError, match="vector"):
        protocol.unpack(protocol.packed(slot, video=False) | {"vector": b""}, other.slots[1])


def test_starts_are_paced():
    """Thirty at once, then as many as a minute allows: a crash loop does not flood a cluster."""
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(3, lambda: now[0], sleep)
    times = []
    for _ in range(7):
        pace.wait()
        times.append(now[0])
        now[0] += 1.0
    assert times == [0, 1, 2, 60, 61, 62, 120] and slept == [57, 57]
