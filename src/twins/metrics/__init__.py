"""Metrics over a whole data set, exact over any number of processes."""
