# SPDX-License-Identifier: Apache-2.0
"""Where backbone weights of presets are looked for, and which file is expected there."""

import os
from pathlib import Path

VARIABLE = "SST_WEIGHTS"  # names another folder
FOLDER = "~/.cache/sst/weights"
SUFFIXES = (".npz", ".h5", ".hdf5")
HELP = {  # backbone: what to put there
    "resnet50": "Keras' resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "resnet18": "resnet18.npz, which the recipe in docs/weights.md makes"}
FETCHED = ("resnet50",)  # of these, the ones that Keras downloads once where none is there


def folder() -> Path:
    """Where weights are looked for: SST_WEIGHTS, or ~/.cache/sst/weights."""
    return Path(os.environ.get(VARIABLE) or FOLDER).expanduser()


def candidates(name: str) -> list[Path]:
    """Files in `folder()` that may hold a backbone's weights, by their names."""
    if not folder().is_dir():
        return []
    return sorted(p for p in folder().glob(f"{name}*") if p.suffix in SUFFIXES)


def remedy(name: str) -> str:
    """Which file to put into `folder()`, for people."""
    return f"put {HELP.get(name, f'{name}.npz')} there"


def advice(name: str) -> str:
    """What to do where `candidates` finds none, for people."""
    keras = "Keras fetches them once; without network " if name in FETCHED else ""
    return keras + remedy(name)
