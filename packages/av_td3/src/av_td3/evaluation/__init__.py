"""How well an agent drives: held-out episodes, statistics, baselines, tables, video.  No torch here."""
