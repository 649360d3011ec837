"""Settings of all tests of av_td3."""

import os

import pytest

# Read when torch is loaded.  The networks here are tiny and the tests run side by side: a second
# thread gains nothing on them, and two that wait for each other cost a factor of ten.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True, scope="session")
def event_files_are_read_in_order():
    """TensorBoard reads files of one second by name, and would take the tenth of a process for the second."""
    from tensorboard.summary.writer import event_file_writer

    event_file_writer._global_uid._value = 1_000_000
