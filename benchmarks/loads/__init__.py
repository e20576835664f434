"""Loads for a server of predictions, each with an oracle of its own; `serving.py` runs them."""
