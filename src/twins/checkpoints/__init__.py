"""Checkpoint files: reading them safely, whose they are, and their weights into a network."""
