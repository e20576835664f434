"""Training and evaluation in one process or many."""
