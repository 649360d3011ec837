"""Watching a running simulator: a page in the browser, or a film."""
