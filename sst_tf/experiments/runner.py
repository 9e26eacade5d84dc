# SPDX-License-Identifier: Apache-2.0
"""Runs what is missing of a grid; a failed run costs none of the others."""

import concurrent.futures
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from sst_tf import config as configuration
from sst_tf.evaluation.stored import results_file
from sst_tf.experiments.grid import Cell, Experiment
from sst_tf.runs.directory import Run


class Children:
    """Processes that are stopped with this one."""

    def __init__(self) -> None:
        self._lock, self._running, self._stopped = threading.Lock(), set(), False

    def run(self, command: list[str], log: Path, environment: dict[str, str]) -> int:
        """Run to the end, what it prints added to `log`; returns its status."""
        with open(log, "a", encoding="utf-8") as file:
            with self._lock:
                if self._stopped:
                    return -signal.SIGTERM
                child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT,
                                         env=environment)
                self._running.add(child)
            try:
                return child.wait()
            finally:
                self._running.discard(child)

    def stop(self) -> None:
        """End those that run, start no more."""
        with self._lock:
            self._stopped = True
            for child in list(self._running):
                child.terminate()


def run_all(experiment: Experiment, cells: list[Cell], jobs: int,
            python: str = sys.executable,
            done: Callable[[list[Cell]], None] | None = None) -> dict[Path, str]:
    """Train and evaluate what is missing; returns {folder: reason} of what failed.

    Several processes may be at the same runs: each run has a lock. Where this process is told to
    stop (an exception in its main thread), its trainings are stopped too, each to go on later from
    its last whole epoch. What a run prints is in `log.txt` in its folder.

    Args:
        jobs: runs at a time, each with its share of the threads.
        done: called with the cells of each run that was missing, once they are there.
    """
    missing = {}
    for cell in cells:
        if cell.missing():
            missing.setdefault(cell.folder, []).append(cell)
    failed = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads),
                   "OMP_NUM_THREADS": str(threads)}
    children = Children()
    with (concurrent.futures.ThreadPoolExecutor(jobs) as pool,
          tqdm(total=len({c.folder for c in cells}), desc=experiment.name, unit="run",
               initial=len({c.folder for c in cells}) - len(missing)) as bar):
        waiting = {pool.submit(_run, some[0].base or experiment.base, some, python, children,
                               environment): some[0] for some in missing.values()}
        try:
            for future in concurrent.futures.as_completed(waiting):
                cell, reason = waiting[future], future.result()
                if reason:
                    failed[cell.folder] = (f"{cell.row}, fold {cell.fold}, seed {cell.seed}: "
                                           f"{reason}")
                    tqdm.write(f"failed: {failed[cell.folder]}", file=sys.stderr)
                elif done:
                    done(missing[cell.folder])
                bar.set_postfix_str(f"{cell.row}, fold {cell.fold}, seed {cell.seed}")
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise
    return failed


def _run(base, cells, python, children, environment):
    """Train the run that cells share, then their evaluations; the reason where one failed."""
    folder = cells[0].folder
    folder.mkdir(parents=True, exist_ok=True)
    # Another process may be at this run: what it leaves is not missing any more.
    with FileLock(folder.with_suffix(".lock")):
        cells = [cell for cell in cells if cell.missing()]
        return _steps(base, cells, python, children, environment) if cells else None


def _steps(base, cells, python, children, environment):
    first = cells[0]
    log, steps = first.folder / "log.txt", []
    trained, _ = configuration.parse(configuration.parser(), first.arguments, base)
    run = Run(first.folder)
    # Of a run whose results were kept elsewhere the weights may not be here.
    if not run.model_path.is_file() or any(results_file(run, trained, k) is None
                                           for k in first.shots):
        steps.append(["sst_tf.train", base, "--run_dir", str(first.folder), "--resume",
                      *first.arguments])
    for cell in cells:
        if (cell.config.evaluate, cell.config.model.fusion) != (trained.evaluate,
                                                                trained.model.fusion):
            steps.append(["sst_tf.evaluate", str(cell.folder), *_evaluation(cell)])
    for step in steps:
        if status := children.run([python, "-m", *step], log, environment):
            last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                    if line.strip()][-1:]
            return f"status {status}, see {log}: {''.join(last)[-300:]}"
    return None


def _evaluation(cell):
    """A cell's evaluation in the command line's form, whatever the run's own is."""
    keys = {f"evaluate.{one.name}": getattr(cell.config.evaluate, one.name)
            for one in dataclasses.fields(cell.config.evaluate)}
    keys |= {"model.fusion": cell.config.model.fusion, "evaluate.shots": cell.missing(),
             "data.root": cell.config.data.root}
    return [text for key, value in keys.items() if value is not None
            for text in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]
