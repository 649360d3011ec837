"""What is found out before anything is started on a cluster.  Ray is a stand-in here."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from av_td3.cluster import link
from av_td3.commands import common
from av_td3.config import config_from_dict
from av_td3.errors import BAD_INPUT, UserError


def node(name, alive=True, **resources):
    return {
        "NodeID": name.encode().hex().ljust(56, "0"),
        "NodeManagerHostname": name,
        "NodeManagerAddress": "192.0.2.1",
        "Resources": {"CPU": 2.0} | resources,
        "Alive": alive,
    }


class FakeRay:
    """Three nodes, one of them dead; ``answers`` is what a question to each gives."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, answers=(), free=None):
        self.all = [node("a"), node("b", GPU=1.0), node("c", alive=False)]
        self.free, self.answers, self.started = free or {"CPU": 4.0, "GPU": 1.0}, list(answers), []

    def nodes(self):
        return self.all

    def available_resources(self):
        return self.free

    def remote(self, *_, **__):
        return lambda _question: SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *_: self.answers.pop(0))
        )

    def get(self, answer, timeout):
        if isinstance(answer, Exception):
            raise answer
        return answer


def cluster(needs=None, **options):
    return link.Cluster(FakeRay(**options), "192.0.2.1:6379", needs or {"CPU": 1.0})


@pytest.mark.parametrize(
    "text", ["", "CPU", "CPU=", "CPU=x", "CPU=0", "CPU=-1", "=2", "CPU=1,,GPU=1", "CPU=nan"]
)
def test_needs_that_cannot_be_read(text):
    with pytest.raises(UserError, match="--ray-needs") as error:
        link.parse_needs(text)
    assert error.value.status == BAD_INPUT


def test_needs():
    needs = link.parse_needs("CPU=2, GPU=0.25,carla=1")
    assert needs == {"CPU": 2.0, "GPU": 0.25, "carla": 1.0}
    assert link.requested(needs) == {"num_cpus": 2.0, "num_gpus": 0.25, "resources": {"carla": 1.0}}
    assert link.in_words(needs) == "2 CPU and 0.25 GPU and 1 carla"


def test_without_ray_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(link.os, "environ", {})
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"pip install './packages/av_td3\[ray\]'"),
        link.joined("local", 1, {"CPU": 1.0}),
    ):
        pass


class LateRay(FakeRay):
    """Late so many times; each time it leaves a process behind."""

    def __init__(self, late):
        super().__init__()
        self.late, self.left, self.shut = late, [], 0

    def init(self, address, **_):
        assert address == "local", "Ray would join what runs on this machine already"
        self.late -= 1
        if self.late >= 0:
            self.left.append(subprocess.Popen(["sleep", "300"]))
            raise Exception("The current node timed out during startup. This could happen")

    def shutdown(self):
        self.shut += 1


@pytest.mark.parametrize("late", [0, 2, 9])
def test_a_cluster_of_this_machine_that_starts_late_is_started_again(monkeypatch, late):
    ray, own = LateRay(late), subprocess.Popen(["sleep", "300"])
    monkeypatch.setattr(link, "import_ray", lambda: ray)
    monkeypatch.setattr(link, "_keep_to_this_machine", lambda: None)
    if late > link.LOCAL_TRIES:
        with pytest.raises(UserError, match="timed out"), link.joined("local", 1, {"CPU": 1.0}):
            pass
        assert len(ray.left) == link.LOCAL_TRIES
    else:
        with link.joined("local", 1, {"CPU": 1.0}) as one:
            assert one.address == "local" and len(ray.left) == late
    assert all(process.wait(10) == -signal.SIGKILL for process in ray.left)
    assert own.poll() is None, "what was there before stays"
    own.kill()
    own.wait()


def test_an_address_that_is_none_or_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address, says in (
        (f"127.0.0.1:{port}", "no Ray cluster answers"),
        ("127.0.0.1", "give HOST:PORT"),
        ("ray://127.0.0.1:10001", "no Ray cluster answers"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
    ):
        with pytest.raises(UserError, match=says), link.joined(address, 1, {"CPU": 1.0}):
            pass


def test_a_running_server_and_a_cluster_that_starts_servers_do_not_go_together():
    config = config_from_dict({"env": {"simulator": {"address": "127.0.0.1:2000"}}})
    with (
        pytest.raises(Exception, match="take one away"),
        common.crews_on(common.Ray("local", "CPU=1"), config, None),
    ):
        pass


def test_room_is_counted_for_each_node():
    one = cluster()
    one.check_room(4)
    assert "2 nodes, room for 4 processes of 1 CPU" in one.described()
    with pytest.raises(UserError, match=r"room for 4 processes of 1 CPU \(a 2, b 2\); 5 are wanted"):
        one.check_room(5)
    with pytest.raises(UserError, match=r"room for 2 processes of 1.5 CPU \(a 1, b 1\)"):
        cluster({"CPU": 1.5}).check_room(3)
    gpu = cluster({"CPU": 1.0, "GPU": 0.5})
    gpu.check_room(2)
    with pytest.raises(UserError, match=r"\(a 0, b 2\)"):
        gpu.check_room(3)
    with pytest.raises(UserError, match="others use the Ray cluster"):
        cluster(free={"CPU": 1.0}).check_room(2)


def test_all_nodes_have_the_same_software():
    own = link.facts()
    cluster(answers=[own, own]).check_software()
    for theirs, says in (
        (own | {"python": "3.9"}, "Python 3.9"),
        (own | {"version": "0.0.1"}, "av-td3 0.0.1"),
        (own | {"sources": "x"}, "other source files"),
        (
            RuntimeError("trace\nModuleNotFoundError: No module named 'av_td3'"),
            "does not say what it has: ModuleNot",
        ),
    ):
        with pytest.raises(UserError, match=r"b \(192.0.2.1\) (has|does)") as error:
            cluster(answers=[own, theirs]).check_software()
        assert says in str(error.value)


def test_a_node_is_avoided_for_a_while_if_there_is_another(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(link.time, "monotonic", lambda: now[0])
    one = cluster()
    assert one._elsewhere() == {}
    one.avoid(one.nodes()[0].id)
    assert one._elsewhere() == {"ray.io/node-id": f"!in({one.nodes()[0].id})"}
    one.avoid(one.nodes()[1].id)
    assert one._elsewhere() == {}, "there is no other"
    now[0] += link.AVOID_S + 1
    assert one._elsewhere() == {} and not one._avoided


class FolderCluster:
    def __init__(self, answers):
        self.answers = answers

    def ask_all(self, question, arguments, limit_s):
        assert question(*arguments)
        return self.answers


def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path):
    link.check_folder(FolderCluster([("a", True)]), tmp_path)
    for answer in (False, RuntimeError("x")):
        with pytest.raises(UserError, match=r"cannot be written on b: .*--into"):
            link.check_folder(FolderCluster([("a", True), ("b", answer)]), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not link.sees(str(tmp_path / "nothing"))
