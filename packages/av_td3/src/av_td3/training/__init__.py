"""A training run: its directory, its loop, its checkpoints."""
