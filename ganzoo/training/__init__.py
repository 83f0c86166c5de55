"""Training: the loop, and what it works with."""

LATEST = "<latest>"  # --resume without a folder; no folder can have this name on every system
