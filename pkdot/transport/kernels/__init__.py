"""Machine code for the solvers: the C extension and the Triton kernels."""
