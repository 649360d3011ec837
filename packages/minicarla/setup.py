"""The compiled modules; everything else about the package is in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = ("minicarla.physics.kernels", "minicarla.sensors.raster.kernels", "minicarla.traffic.kernels")

setup(
    ext_modules=cythonize(
        [
            Extension(
                name,
                [f"src/{name.replace('.', '/')}.pyx"],
                # No fused multiply-add: results do not depend on how a compiler groups a sum.
                extra_compile_args=["-O3", "-ffp-contract=off"],
            )
            for name in MODULES
        ],
        build_dir="build",
        include_path=["src"],
    )
)
