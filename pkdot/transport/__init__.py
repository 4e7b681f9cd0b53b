"""Entropic optimal transport between clouds of points and between histograms on one support.

Read in this order. ``problem``: what is solved, how exactly. ``softmin``: half a sweep. ``newton``, and ``sweeps`` with
``anderson``: the iterations on a cost matrix, few and exact for small problems, many and cheap for large ones;
``sinkhorn`` anneals them. ``large`` does without the cost matrix. ``clouds`` makes divergences of them, and is the
backend ``torch``; ``native`` is the same in C (``_native.c``, ``_anderson.h``, ``_sinkhorn.h``, ``_term.h``), and
``triton_backend`` on a GPU (``triton_small``, ``triton_streaming``). ``backends`` picks one, ``operator`` makes it
differentiable and opaque to torch.compile, and ``divergence`` is what the rest of pkdot calls. ``entropic`` and
``histograms`` are for weights that learn on points that stay.
"""
