"""What a number came from: versions, commit, machine."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "pillow")


def environment():
    """Versions, commit and machine."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": commit(), "machine": platform.machine(),
            "processors": os.cpu_count(), "command": " ".join(sys.argv)}


def commit():
    """The checkout's commit, with "+" where files differ from it; "unknown" outside one."""
    here = Path(__file__).resolve().parent

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True,
                              check=True).stdout.strip()
    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
