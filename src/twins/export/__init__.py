"""Trained networks as files of other runtimes: captured as a graph, written, and compared with the original."""
