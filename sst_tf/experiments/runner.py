# SPDX-License-Identifier: Apache-2.0
"""Runs what is missing of grids; a failed run costs none of the others."""

import concurrent.futures
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from sst_tf.experiments.executors import Executor
from sst_tf.experiments.grid import Cell


def run_all(cells: Iterable[Cell], executor: Executor,
            done: Callable[[list[Cell]], None] | None = None, others: Iterable[Cell] = ()
            ) -> dict[Path, str]:
    """Train and evaluate what is missing; returns {folder: reason} of what failed.

    A run whose weights are gone is trained anew for an evaluation that is missing. It is another
    model then, and all of its evaluations are made anew, too.

    Several processes may be at the same runs: each run has a lock. Where this process is told to
    stop (an exception in its main thread), its trainings are stopped too, each to go on later from
    its last whole epoch. What a run prints is in `log.txt` in its folder.

    Args:
        cells: of one experiment or several.
        executor: where the runs go.
        done: called with the cells of each run that was missing, once they are there.
        others: which nobody asks for now. Those that are there stay so, whatever is trained anew.
    """
    runs: dict[Path, list[Cell]] = {}
    for cell in cells:
        runs.setdefault(cell.folder, []).append(cell)
    missing = {folder: some for folder, some in runs.items()
               if any(cell.missing() for cell in some)}
    for cell in others:
        some = missing.get(cell.folder)
        if some is not None and cell not in some and not cell.missing():
            some.append(cell)
    failed = {}
    with tqdm(total=len(runs), desc="runs", unit="run",
              initial=len(runs) - len(missing)) as bar:
        waiting = {executor.submit(some): some[0] for some in missing.values()}
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
