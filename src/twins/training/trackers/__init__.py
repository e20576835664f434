"""Experiment trackers behind one interface, a file each; what a run sends them is in `tracking`."""
