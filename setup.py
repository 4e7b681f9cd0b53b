"""The C extension of pkdot.transport, which is left out where there is no C compiler; the rest is in setup.cfg."""

from setuptools import Extension, setup

NATIVE = Extension(
    "pkdot.transport.kernels._native",
    sources=["pkdot/transport/kernels/_native.c"],
    depends=[f"pkdot/transport/kernels/{name}.h" for name in ("_anderson", "_constants", "_sinkhorn", "_term")],
    extra_compile_args=["-O3", "-std=gnu11", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"],
    libraries=["m", "pthread", "dl"],
    py_limited_api=True,
    optional=True,
)

setup(ext_modules=[NATIVE], options={"bdist_wheel": {"py_limited_api": "cp311"}})
