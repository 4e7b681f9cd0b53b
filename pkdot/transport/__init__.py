"""Entropic optimal transport between clouds of points and between histograms on one support.

Read in this order: ``softmin`` (one half of a sweep), ``anderson`` (what makes sweeps few), ``sinkhorn`` (the loop),
``entropic`` (the loop as a differentiable function of cost and weights), ``divergence`` (what the rest of pkdot uses).
"""
