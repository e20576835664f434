"""Training by a recipe: the loop, its evaluation, the optimiser, and the folder of a run."""
