"""The solvers of the torch backend: Sinkhorn's and Newton's iterations, with a cost matrix and without one."""
