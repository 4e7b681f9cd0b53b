"""Entropic optimal transport between clouds of points and between histograms on one support.

Read in this order: ``softmin`` (half a sweep), ``problem`` (what is solved, how exactly), ``newton``, and ``sweeps``
with ``anderson`` (the iterations for small and for large problems), ``sinkhorn`` (their temperature and precision),
``entropic`` (the solver as a differentiable function) and ``divergence`` (what the rest of pkdot calls).
"""
