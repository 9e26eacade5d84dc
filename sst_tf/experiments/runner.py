# SPDX-License-Identifier: Apache-2.0
"""Runs what is missing of a grid; a failed run costs none of the others."""

import concurrent.futures
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from sst_tf.experiments.executors import Executor
from sst_tf.experiments.grid import Cell, Experiment


def run_all(experiment: Experiment, cells: list[Cell], executor: Executor,
            done: Callable[[list[Cell]], None] | None = None) -> dict[Path, str]:
    """Train and evaluate what is missing; returns {folder: reason} of what failed.

    Several processes may be at the same runs: each run has a lock. Where this process is told to
    stop (an exception in its main thread), its trainings are stopped too, each to go on later from
    its last whole epoch. What a run prints is in `log.txt` in its folder.

    Args:
        executor: where the runs go.
        done: called with the cells of each run that was missing, once they are there.
    """
    missing = {}
    for cell in cells:
        if cell.missing():
            missing.setdefault(cell.folder, []).append(cell)
    failed = {}
    with tqdm(total=len({c.folder for c in cells}), desc=experiment.name, unit="run",
              initial=len({c.folder for c in cells}) - len(missing)) as bar:
        waiting = {executor.submit(some[0].base or experiment.base, some): some[0]
                   for some in missing.values()}
        try:
            for future in concurrent.futures.as_completed(waiting):
                cell = waiting[future]
                try:
                    reason = future.result()
                except Exception as error:  # its machine was lost, or the system refused a file
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                if reason:
                    failed[cell.folder] = (f"{cell.row}, fold {cell.fold}, seed {cell.seed}: "
                                           f"{reason}")
                    tqdm.write(f"failed: {failed[cell.folder]}", file=sys.stderr)
                elif done:
                    done(missing[cell.folder])
                bar.set_postfix_str(f"{cell.row}, fold {cell.fold}, seed {cell.seed}")
                bar.update()
        except BaseException:
            executor.stop()
            raise
    return failed
