"""What the commands ``train``, ``validate`` and ``evaluate`` do, once their arguments have been read."""
