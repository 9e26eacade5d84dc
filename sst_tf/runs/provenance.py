# SPDX-License-Identifier: Apache-2.0
"""What a number came from: versions, commit, machine."""

import os
import platform
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

NAME = "sst-tf"
FLAGS = Path("/proc/cpuinfo")
COUNTED = ("TF_", "OMP_", "KMP_", "MKL_", "XLA_", "CUDA_VISIBLE", "NVIDIA_TF32", "KERAS_")
SILENT = ("TF_CONFIG", "TF_CPP_MIN_LOG_LEVEL", "KERAS_HOME")  # places and what is printed
PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "pillow")


def environment() -> dict:
    """Versions, commit and machine."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": commit(), "machine": platform.machine(),
            "processors": os.cpu_count(), "usable_processors": usable_processors(),
            "variables": variables(), "bfloat16": has_bfloat16(), "command": command()}


def usable_processors() -> int | None:
    """How many processors this process may use: as many threads TensorFlow has by default."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def variables() -> dict[str, str]:
    """Variables of the environment that numbers may depend on: threads, kernels, devices."""
    return {name: value for name, value in sorted(os.environ.items())
            if name.startswith(COUNTED) and name not in SILENT}


def has_bfloat16() -> bool:
    """Whether TensorFlow computes bfloat16 products by the processor, which takes AVX-512.

    Elsewhere it has them from general code, many times slower than float32.
    """
    try:
        flags = FLAGS.read_text(encoding="utf-8", errors="replace").split()
    except OSError:  # not Linux
        return False
    return not {"avx512f", "avx_ne_convert"}.isdisjoint(flags)


def command() -> str:
    """What was typed, wherever the interpreter lies."""
    return " ".join([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])


def commit() -> str:
    """What code ran: the commit of the package's own checkout, "+" where files differ from it.

    "installed" and the version elsewhere: a package installed inside somebody's repository must
    not take their commit for its own.
    """
    here = Path(__file__).resolve()

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=here.parent, capture_output=True, text=True,
                              check=True).stdout.strip()
    try:
        if not _own(Path(git("rev-parse", "--show-toplevel")), here.parents[2]):
            return f"installed {_version()}"
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return f"installed {_version()}"


def _own(top, package):
    """Whether a checkout is this project's, with the package directly in it."""
    try:
        project = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return False
    return project.get("name") == NAME and top.resolve() == package


def _version():
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
