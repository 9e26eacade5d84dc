# SPDX-License-Identifier: Apache-2.0
"""What is kept of a run where its weights are not: its results, to make tables from elsewhere.

Weights are large and made anew; results are small. A grid whose results are kept trains only what
is missing, on whatever machine.
"""

import dataclasses
import io
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipelines.errors import UserError
from pipelines.sealed import told
from pipelines.writing import replacing
from sst_tf.evaluation.stored import COUNTS, REMEDY, of_another_model, read_results
from sst_tf.experiments.grid import Cell
from sst_tf.runs.directory import Run

# In this order: the last tells that all is there, and a results file that its counts are.
KEPT = ("identity.json", "environment.json", "classes.json", "photos.json", "history.csv",
        "thresholds.json", "presence.json", "evaluations/*.npz", "evaluations/*.json",
        "config.yaml")


def keep(cells: Iterable[Cell], folder: Path) -> None:
    """Copy the results of runs that have some into `folder`, a subfolder a run."""
    for run in dict.fromkeys(cell.folder for cell in cells if not cell.missing()):
        _copy(run, folder / run.name)


def kept_cell(cell: Cell, folder: Path) -> Cell:
    """A cell as `restore` would bring it back, before it does; itself where it would not."""
    kept = folder / cell.folder.name
    return dataclasses.replace(cell, folder=kept) if _comes_back(cell.folder, kept) else cell


def restore(cells: Iterable[Cell], folder: Path) -> None:
    """Bring back kept results of runs that were not trained here."""
    for run in dict.fromkeys(cell.folder for cell in cells):
        if _comes_back(run, folder / run.name):
            _copy(folder / run.name, run)


def _comes_back(run, kept):
    here = any((run / name).exists() for name in ("model.keras", "last.npz", "log.txt"))
    return (kept / "config.yaml").is_file() and not here


def _copy(source, target):
    """Bring `target` to what `source` has, evaluations of its present model alone."""
    model = _model(source)
    for path in sorted(_of_others(target, model)):
        tqdm.write(f"{path}: of an earlier training of this run; removed", file=sys.stderr)
        for part in (path, path.with_suffix(".npz")):
            part.unlink(missing_ok=True)
    left_out = _of_others(source, model)
    for path in (one for pattern in KEPT for one in sorted(source.glob(pattern))):
        if path.with_suffix(".json") in left_out:
            continue
        content = _counts(path) if path.suffix == ".npz" else path.read_bytes()
        there = target / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.is_file() or there.read_bytes() != content:
            with replacing(there) as partial:
                partial.write_bytes(content)


def _model(run):
    """Hash of a run's model, or of the one that all of its results are of."""
    if Run(run).model_path.is_file():
        return Run(run).model_sha256()
    found = {one for path in sorted(run.glob("evaluations/novel_*.json"))
             if (one := read_results(path).get("model_sha256"))}
    if len(found) > 1:
        raise UserError(f"{run}: results of {len(found)} models; remove those of all but one")
    return next(iter(found), None)


def _of_others(run, model):
    """Paths of a run's results that say that they are of another model."""
    return {path for path in run.glob("evaluations/*.json") if of_another_model(
        read_results(path), {"model_sha256": model})}


def _counts(path):
    """The arrays of a file of counts that tables need, packed."""
    file = io.BytesIO()
    with told(path, REMEDY), np.load(path) as arrays:
        np.savez_compressed(file, **{name: arrays[name] for name in COUNTS if name in arrays})
    return file.getvalue()
