"""Who drives on a server: the claims of this machine, and the marks that actors carry."""

import os
import socket
import subprocess
import sys

import pytest

from av_td3.driving.errors import ServerTakenError
from av_td3.driving.ownership import (
    Mark,
    ServerClaim,
    claim_for_program,
    describe_process,
    is_alive,
    other_clients,
)


@pytest.fixture
def gone():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("role", ["hero", "", "av_td3", "av_td3:host:x", "av_td3:host", "other:host:7"])
def test_what_others_spawn_carries_no_mark(role):
    assert Mark.of(role) is None


def test_a_mark_names_machine_and_process(gone):
    own = Mark.own()
    assert Mark.of(str(own)) == own and own.is_alive and own.owner.startswith(f"process {os.getpid()} (")
    left = Mark(own.host, gone)
    assert left.is_of_this_machine and not left.is_alive and left.owner == f"process {gone}"
    remote = Mark.of("av_td3:a:b:7")  # a host's name may have a colon
    assert remote == Mark("a:b", 7) and remote.owner == "process 7 of the machine a:b"
    assert not remote.is_of_this_machine and not remote.is_alive


def test_processes_in_messages(gone):
    assert is_alive(os.getpid()) and not is_alive(gone)
    assert describe_process(gone) == f"process {gone}"
    assert "python" in describe_process(os.getpid())


def test_a_zombie_does_not_run():
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    child.stdout.read()  # closed at its end; it is not waited for yet
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    child.communicate()


def test_other_clients_of_a_port_are_named():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert other_clients(port) == "another client", "nobody is connected"
        program = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); input()"
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
        try:
            listening.accept()
            assert f"process {child.pid} (" in other_clients(port)
        finally:
            child.communicate(b"\n")


def test_a_host_without_an_address_can_be_claimed():
    """Whether it answers is for the client to say."""
    claim = ServerClaim("no.such.host.invalid", 1)
    with pytest.raises(ServerTakenError, match="in use by process"):
        ServerClaim("no.such.host.invalid", 1)
    claim.release()


def test_environments_of_one_process_share_their_claim():
    one = claim_for_program("127.0.0.1", 2)
    assert claim_for_program("localhost", 2) is one
    del one
    assert claim_for_program("localhost", 2) is not None
