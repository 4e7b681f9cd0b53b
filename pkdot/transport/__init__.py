"""Optimal transport between clouds of points and between histograms on one support.

The way in is ``divergence`` for clouds, and ``histograms``. ``operator`` makes both differentiable, and makes each one
operator for torch.compile. ``backends`` picks who solves a divergence:

- ``torch_backend``, on any device, with the mathematics in ``solvers``: ``sinkhorn`` for problems with a cost matrix
  (``matrix``), by ``newton`` if they are small; ``large`` for clouds whose costs are never kept. All sweeps run in the
  one loop of ``sweeps``, extrapolated by ``anderson``.
- ``native_backend``: the same in C, on the CPU (``kernels/_native.c`` and its headers).
- ``triton_backend``: small problems in one launch on a GPU (``kernels/triton_small``), large ones in the loop of
  ``sweeps`` with soft minima from the GPU (``kernels/triton_streaming``).
- ``pot_backend``: POT as an independent engine, and exact transport.

``problem`` holds the types that they share, ``constants`` the numbers.
"""
