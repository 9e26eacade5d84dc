# SPDX-License-Identifier: Apache-2.0
"""What is kept of a run where its weights are not: its results, to make tables from elsewhere.

Weights are large and made anew; results are small. A grid whose results are kept trains only what
is missing, on whatever machine.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipelines.writing import replacing
from sst_tf.experiments.grid import Cell

# In this order: the last tells that all is there, and a results file that its counts are.
KEPT = ("identity.json", "environment.json", "classes.json", "photos.json", "history.csv",
        "thresholds.json", "presence.json", "evaluations/*.npz", "evaluations/*.json",
        "config.yaml")
COUNTS = ("class_ids", "photos", "tuned_half", "tuned_chosen")  # what tables are made of


def keep(cells: Iterable[Cell], folder: Path) -> None:
    """Copy the results of runs that have some into `folder`, a subfolder a run."""
    for run in dict.fromkeys(cell.folder for cell in cells if not cell.missing()):
        _copy(run, folder / run.name)


def restore(cells: Iterable[Cell], folder: Path) -> None:
    """Bring back kept results of runs that have none of their own."""
    for run in dict.fromkeys(cell.folder for cell in cells):
        if (folder / run.name / "config.yaml").is_file() and not (run / "config.yaml").is_file():
            _copy(folder / run.name, run)


def _copy(source, target):
    for path in (one for pattern in KEPT for one in sorted(source.glob(pattern))):
        content = _counts(path) if path.suffix == ".npz" else path.read_bytes()
        there = target / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.is_file() or there.read_bytes() != content:
            with replacing(there) as partial:
                partial.write_bytes(content)


def _counts(path):
    """The arrays of a file of counts that tables need, packed."""
    file = io.BytesIO()
    with np.load(path) as arrays:
        np.savez_compressed(file, **{name: arrays[name] for name in COUNTS if name in arrays})
    return file.getvalue()
