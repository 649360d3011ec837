"""Processes, ports and patience: what needs no simulator."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from threading import Thread

import msgpack
import psutil
import pytest

from av_td3.config import ConfigError, EnvConfig, SimulatorConfig, config_from_dict
from av_td3.supervision import process as process_module
from av_td3.supervision.launcher import CommandServer, LaunchError, answers, check_map
from av_td3.supervision.patience import LARGEST_EXTENSION, Patience, RestartBudget
from av_td3.supervision.ports import NoPortError, PortLease
from av_td3.supervision.process import Child, rotate

TREE = """
    import os, subprocess, sys, time
    # A grandchild, and one that became a daemon: another session, another parent.
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.waitpid(between, 0)
    print("started", flush=True)
    time.sleep(600)
"""


def tree() -> list[str]:
    return [sys.executable, "-SE", "-c", textwrap.dedent(TREE)]


def descendants(child_log: Path, pid: int, wanted: int, within: float = 60.0) -> list[psutil.Process]:
    """What descends from a process once its log says that it has started them; the dead do not count."""
    deadline = time.monotonic() + within
    found: list[psutil.Process] = []
    while time.monotonic() < deadline:
        started = child_log.exists() and "started" in child_log.read_text()
        found = [p for p in psutil.Process(pid).children(recursive=True) if alive(p)]
        if started and len(found) == wanted:
            break
        time.sleep(0.02)
    return found


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def all_gone(processes: list[psutil.Process], within: float = 20.0) -> bool:
    return not psutil.wait_procs(processes, within)[1]


@pytest.mark.parametrize("grace", [0.0, 2.0])
def test_a_kept_program_ends_with_all_that_it_started(tmp_path, grace):
    child = Child(tree(), tmp_path / "log", kept=True)
    there = descendants(child.log, child.pid, 3)
    assert len(there) == 3 and child.output() == "started" and child.memory > 1 << 20
    child.stop(grace)
    assert all_gone(there) and not psutil.pid_exists(child.pid)
    child.stop()  # twice is fine


def test_when_a_kept_program_ends_by_itself_nothing_of_it_stays(tmp_path):
    child = Child(["sh", "-c", "sleep 600 & exit 7"], tmp_path / "log", kept=True)
    assert child.wait(20) and child.exit_status == 7
    child.stop()
    missing = Child(["no-such-program"], tmp_path / "log", kept=True)
    assert missing.wait(20) and missing.exit_status == 127 and "No such file" in missing.output()
    missing.stop()


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_kill_9_of_the_parent_ends_grandchildren_too(tmp_path, stopped):
    """Also when the parent was stopped before: as long as it is, its children go on."""
    program = """
        import sys, time
        from pathlib import Path
        from av_td3.supervision.process import Child
        child = Child(sys.argv[2:], Path(sys.argv[1]), kept=True)
        print(child.pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "log"), *tree()],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        keeper = int(parent.stdout.readline())
        there = [psutil.Process(keeper), *descendants(tmp_path / "log", keeper, 3)]
        assert len(there) == 4
        if stopped:
            parent.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            assert all(alive(p) for p in there)
    finally:
        parent.kill()
        parent.communicate()
    assert all_gone(there)


def test_a_log_is_rotated_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(process_module, "LOG_LIMIT", 100)
    log = tmp_path / "log"
    child = Child(["sh", "-c", "while true; do echo 0123456789; sleep 0.01; done"], log, kept=True)
    try:
        for _ in range(3):
            deadline = time.monotonic() + 20
            while log.stat().st_size <= 100 and time.monotonic() < deadline:
                time.sleep(0.01)
            child.trim_log()
        deadline = time.monotonic() + 20
        while not child.output().endswith("0123456789") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert child.output().endswith("0123456789")
    finally:
        child.stop()
    assert {p.name for p in tmp_path.iterdir()} == {"log", "log.1", "log.2"}
    assert not rotate(tmp_path / "nothing")


def test_two_runs_never_lease_the_same_port():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first = PortLease(port - 1, 3)
        assert first.port > port  # none of the three is the one that somebody listens on
        second = PortLease(port - 1, 3)
        assert second.port >= first.port + 3
    program = (
        "import sys; from av_td3.supervision.ports import PortLease as P; l = P(int(sys.argv[1]), 3);"
        "print(l.port, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(first.port)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        theirs = int(other.stdout.readline())
        assert theirs >= second.port + 3
        first.release()
        again = PortLease(first.port, 3)
        assert again.port == first.port
    finally:
        other.kill()
        other.communicate()
    leases = [second, again, PortLease(theirs, 3)]
    assert leases[-1].port == theirs  # the kernel has given it free
    if os.fork() == 0:  # what is forked holds nothing
        for lease in leases:
            lease.release()
        os._exit(0)
    os.wait()
    for lease in leases:
        lease.release()
    with pytest.raises(NoPortError, match="no free port from 65535"):
        PortLease(65535, 3)


FAKE_SERVER = """
    import socket, sys, time, msgpack
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
        while True:
            connection, _ = server.accept()
            request = msgpack.unpackb(connection.recv(4096))
            connection.sendall(msgpack.packb([1, request[1], None, "0.9.16"]))
            connection.close()
"""


def test_a_server_by_command_is_ready_when_it_answers_and_has_ports_of_its_own(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(FAKE_SERVER))
    command = f"{sys.executable} {script} {{port}}"
    servers = [CommandServer(command, tmp_path / f"{n}.log", 60.0) for n in range(2)]
    ports = [int(server.address.rpartition(":")[2]) for server in servers]
    assert abs(ports[0] - ports[1]) >= 3 and all(answers("127.0.0.1", port, 10.0) for port in ports)
    for server in servers:
        server.stop(1.0)
    assert not any(answers("127.0.0.1", port, 0.2) for port in ports)


@pytest.mark.parametrize(
    ("command", "deadline", "says"),
    [
        ("sh -c 'echo no GPU; exit 3' {port}", 60.0, r"command ended \(exit status 3\): no GPU"),
        ("no-such-server {port}", 60.0, r"no-such-server: No such file"),
        ("sh -c 'sleep 600' {port}", 0.3, r"did not answer on port \d+ within 0.3 s"),
    ],
)
def test_a_server_that_does_not_start_says_why(tmp_path, command, deadline, says):
    with pytest.raises(LaunchError, match=says):
        CommandServer(command, tmp_path / "log", deadline)


def test_what_is_no_carla_server_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not answers("127.0.0.1", port, 0.1)  # accepts and is silent

        def reply(data: bytes) -> None:
            connection, _ = server.accept()
            connection.sendall(data)
            connection.close()

        server.accept()[0].close()
        for data, expected in (
            (b"HTTP/1.1 400 Bad Request\r\n", False),
            (msgpack.packb([1, 1, "no such call", None]), False),
            (msgpack.packb([1, 1, None, "0.9.16"]), True),
        ):
            thread = Thread(target=reply, args=(data,))
            thread.start()
            assert answers("127.0.0.1", port, 10.0) is expected
            thread.join()


def test_a_command_must_say_where_the_port_goes():
    for wrong in ("CarlaUE4.sh", "CarlaUE4.sh '{port}", "CarlaUE4.sh {host} {port}", ""):
        with pytest.raises(ConfigError, match=r"env\.simulator\.command"):
            config_from_dict({"env": {"simulator": {"command": wrong}}})
    with pytest.raises(ConfigError, match="not both"):
        config_from_dict({"env": {"simulator": {"command": "x {port}", "address": "localhost:2000"}}})
    check_map(SimulatorConfig(command="x {port}", map="Town01"))  # only that server knows its maps


def test_deadlines_follow_what_was_measured():
    patience = Patience(SimulatorConfig(step_deadline_s=10, client_timeout_s=5, start_deadline_s=60))
    assert (patience.limit("step"), patience.client_timeout) == (10, 5)
    for _ in range(50):
        patience.took("step", 0.05)
    assert patience.limit("step") == 10  # a quick machine does not make it shorter
    patience.took("step", 4.0)
    assert (patience.limit("step"), patience.client_timeout) == (20, 20)
    for _ in range(100):
        patience.took("step", 0.05)
    assert patience.limit("step") == 10
    for _ in range(10):
        patience.missed()
    assert patience.limit("start") == 60 * LARGEST_EXTENSION
    config = patience.applied(EnvConfig())
    assert config.simulator.start_deadline_s == 480 and config.simulator.client_timeout_s == 40
    patience.took("step", 0.05)
    assert patience.limit("start") == 60


def test_a_retry_with_what_failed_gets_the_time_that_it_usually_takes():
    simulator = SimulatorConfig(reset_deadline_s=30, client_timeout_s=5, map_deadline_s=60)
    patience = Patience(simulator)
    assert patience.retry_limit("reset") == 30  # nothing is known yet
    for seconds in (9.0, 0.2, 0.2, 0.3):
        patience.took("reset", seconds)
    assert patience.limit("reset") == 45 and patience.retry_limit("reset") == 5 + 5 * 0.2
    patience.took("map", 2.0)
    environment = EnvConfig()
    assert patience.applied(environment, retry=True).simulator.map_deadline_s == 15
    assert patience.applied(environment).simulator.map_deadline_s == 60


def test_a_crash_loop_ends_although_each_life_makes_steps():
    now = [0.0]
    limits = SimulatorConfig(max_consecutive_restarts=3, max_restarts_per_hour=5, max_restarts=20)
    budget = RestartBudget(limits, lambda: now[0])
    for _ in range(5):
        assert budget.failed() == "" and budget.pause == 0.25
        budget.worked()
        assert budget.pause == 0.0
        now[0] += 60.0
    assert "6 times within an hour" in budget.failed()
    slow = RestartBudget(limits, lambda: now[0])
    for _ in range(20):
        now[0] += 1000.0
        assert slow.failed() == ""
        slow.worked()
    now[0] += 1000.0
    assert "21 times in all" in slow.failed()
    row = RestartBudget(limits, lambda: now[0])
    pauses = []
    for _ in range(3):
        assert row.failed() == ""
        pauses.append(row.pause)
    assert pauses == [0.25, 0.5, 1.0] and row.failed() == "4 times in a row"
