"""Metrics over a whole set, exact over any number of processes."""
