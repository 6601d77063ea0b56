"""Build: every .pyx below ext/ and plant_models/ becomes one extension module of the same dotted name."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("CTRL_DEBUG") == "1"  # checks on; the whole suite must pass in both builds
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,  # kernels index C arrays whose sizes Program.load has proved
    "wraparound": False,  # negative slots mean "not wired" and are tested, never indexed
    "cdivision": not DEBUG,  # float division only: a zero divisor gives inf, which the program turns into bad status
    "initializedcheck": DEBUG,
    "embedsignature": True,
}
FLAGS = ["-O1", "-g"] if DEBUG else ["-O2", "-g0"]  # -g0: Python's own -g would make a wheel four times as large
# Never -ffast-math: it deletes NaN tests. -ffp-contract=off: the same bits with and without FMA.
FLAGS += ["-ffp-contract=off", "-fno-fast-math", "-fstack-protector-strong", "-Wno-unused-function"]

JOBS = len(os.sched_getaffinity(0))  # the processors we may use; a container has fewer than the machine

if __name__ == "__main__":  # the workers of cythonize import this file again where processes are not forked
    sources = sorted(p for room in ("ext", "plant_models") for p in Path(room).rglob("*.pyx"))
    extensions = [Extension(".".join(p.with_suffix("").parts), [str(p)], extra_compile_args=FLAGS) for p in sources]
    setup(
        ext_modules=cythonize(extensions, build_dir="build/cython", nthreads=JOBS, compiler_directives=DIRECTIVES),
        options={"build_ext": {"parallel": JOBS}},
    )
