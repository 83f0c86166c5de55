"""What a step of training costs: counted exactly, planned from that, or measured. ``ganzoo plan``, ``ganzoo bench``."""
