"""Distillation methods against each other: the grid, its runs, their statistics and the report."""
