"""Hostile inputs by kind, and the process that they are fed to: see `hostile_inputs.py`."""
