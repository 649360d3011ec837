"""Settings of all tests of av_td3."""

import os

# Read when torch is loaded.  The networks here are tiny and the tests run side by side: a second
# thread gains nothing on them, and two that wait for each other cost a factor of ten.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
