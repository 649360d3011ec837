"""The runs of a sweep on Ray: what becomes of them when their process, or the sweep, is ended.

A real cluster of this machine, in a process of its own; the runs are programs of a few lines.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from av_td3.cluster import trials
from av_td3.errors import UserError

SWEEP = """
    import os, pathlib, sys
    from av_td3.cluster import link
    from av_td3.supervision.process import Child

    RUN = '''
    import pathlib, signal, sys, time
    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    lives = folder / (name + ".lives")
    lives.open("a").write("x")
    signal.signal(signal.SIGTERM, lambda *_: ((folder / (name + ".saved")).touch(), sys.exit(0)))
    if "bad" in name:
        sys.exit("it went wrong")
    if "long" in name and (len(lives.read_text()) == 1 or "longer" in name):
        time.sleep(100)
    (folder / (name + ".done")).touch()
    '''

    class Trial:
        def __init__(self, name):
            self.name = name
        def start(self, log, patience_s):
            import textwrap
            folder = str(log.parent.parent)
            return Child([sys.executable, "-SE", "-c", textwrap.dedent(RUN), folder, self.name], log)
        def failure(self, child):
            return child.output() if child.exit_status else ""

    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    with link.joined("local", 2, {"CPU": 1.0}) as cluster:
        from av_td3.cluster import trials

        try:
            mine = [Trial(name) for name in names]
            failed = trials.run_all(cluster, mine, folder, None, lambda text: print(text, flush=True))
            print("failed", failed, flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
"""


class Sweep:
    """The program above."""

    def __init__(self, folder, *names):
        self.folder = folder
        (folder / "sweep.py").write_text(textwrap.dedent(SWEEP))
        command = [sys.executable, str(folder / "sweep.py"), str(folder), *names]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for(self, name):
        deadline = time.monotonic() + 300
        while not (self.folder / name).exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.process.kill()
                raise AssertionError(self.process.communicate()[0])
            time.sleep(0.05)

    def run_of(self, name):
        """The process of a run."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            if process.cmdline()[-1:] == [name]:
                return process
        raise AssertionError(f"{name} does not run")

    def end(self):
        """What it said."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        out, _ = self.process.communicate(timeout=300)
        _, alive = psutil.wait_procs(family, 20)
        assert not alive, [process.cmdline() for process in alive]
        return out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_end_fail_and_are_begun_again_when_their_node_is_lost(tmp_path):
    sweep = Sweep(tmp_path, "good", "bad", "long")
    sweep.wait_for("long.lives")
    sweep.run_of("long").parent().kill()  # Ray's process: what a node that is lost looks like
    out = sweep.end()
    assert "failed {'bad': 'it went wrong'}" in out and "long lost its node" in out, out
    assert (tmp_path / "good.done").exists() and (tmp_path / "long.done").exists()
    assert (tmp_path / "long.lives").read_text() == "xx" and not (tmp_path / trials.STATE).exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_signal_lets_the_runs_save_themselves(tmp_path):
    sweep = Sweep(tmp_path, "longer")
    sweep.wait_for("longer.lives")
    time.sleep(1.0)  # until its handler is set
    os.kill(sweep.process.pid, signal.SIGTERM)
    out = sweep.end()
    assert "interrupted" in out and (tmp_path / "longer.saved").exists(), out
    assert not (tmp_path / trials.ENDING).exists()


class FakeCluster:
    def __init__(self, answers):
        self.answers = answers

    def ask_all(self, question, arguments, limit_s):
        assert question(*arguments)
        return self.answers


def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path):
    trials.check_folder(FakeCluster([("a", True)]), tmp_path)
    for answer in (False, RuntimeError("x")):
        with pytest.raises(UserError, match=r"cannot be written on b: .*--into"):
            trials.check_folder(FakeCluster([("a", True), ("b", answer)]), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not trials.sees(str(tmp_path / "nothing"))
