"""Watching a training run: what is measured, what raises an alarm, what stops it."""
