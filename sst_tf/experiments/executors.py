# SPDX-License-Identifier: Apache-2.0
"""Where the runs of a grid go: processes of this machine here, Ray in `on_ray`."""

import concurrent.futures
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from sst_tf import config as configuration
from sst_tf.experiments.grid import Cell, is_trained, missing_results
from sst_tf.runs.directory import Run


class Executor(Protocol):
    """Trains and evaluates what is missing of runs."""

    def submit(self, cells: list[Cell]) -> concurrent.futures.Future:
        """A future of `train`'s answer for cells of one folder."""

    def stop(self) -> None:
        """End what runs, start no more; a training goes on later from its last whole epoch."""


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


class Here:
    """An `Executor` of processes on this machine.

    Args:
        jobs: runs at a time, each with its share of the threads.
    """

    def __init__(self, jobs: int, python: str = sys.executable):
        self.threads, self.python = max(1, (os.cpu_count() or 1) // jobs), python
        self._pool, self._children = concurrent.futures.ThreadPoolExecutor(jobs), Children()

    def submit(self, cells: list[Cell]) -> concurrent.futures.Future:
        """As of `Executor`."""
        return self._pool.submit(train, cells, self.python, self._children, self.threads)

    def stop(self) -> None:
        """As of `Executor`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._children.stop()


def train(cells: list[Cell], python: str, children: Children, threads: int) -> str | None:
    """Train the run that cells share, then their evaluations; the reason where one failed."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads),
                   "OMP_NUM_THREADS": str(threads)}
    folder = cells[0].folder
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    # Another process may be at this run: what it leaves is not missing any more.
    with FileLock(folder.with_suffix(".lock")):
        if not any(cell.missing() for cell in cells):
            return None
        return _steps(cells, lambda *step: children.run([python, "-m", *step], log, environment),
                      log)


def _steps(cells, run_module, log):
    first = cells[0]
    trained, _ = configuration.parse(configuration.parser(), first.arguments, first.base)
    run, status = Run(first.folder), 0
    # A model without `last.npz` cannot go on, but be asked.
    resumes = run.last_path.is_file() or not is_trained(run, trained)
    if resumes and (not is_trained(run, trained) or missing_results(run, trained, first.shots)):
        status = run_module("sst_tf.train", first.base, "--run_dir", str(first.folder), "--resume",
                            *first.arguments)
    for cell in cells:  # what the training has evaluated is there
        if not status and cell.missing():
            status = run_module("sst_tf.evaluate", str(cell.folder), *_evaluation(cell))
    if status:
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                if line.strip()][-1:]
        return f"status {status}, see {log}: {''.join(last)[-300:]}"
    left = [f"{cell.row} ({', '.join(map(str, cell.missing()))}-shot)" for cell in cells
            if cell.missing()]
    return f"ended without results of {', '.join(left)}; see {log}" if left else None


def _evaluation(cell):
    """A cell's evaluation in the command line's form, whatever the run's own is."""
    keys = {f"evaluate.{one.name}": getattr(cell.config.evaluate, one.name)
            for one in dataclasses.fields(cell.config.evaluate)}
    keys |= {f"model.{key}": getattr(cell.config.model, key) for key in configuration.ANSWERING}
    keys["evaluate.shots"] = cell.missing()
    if cell.config.data.root is not None:
        keys["data.root"] = cell.config.data.root
    return [text for key, value in keys.items()
            for text in (f"--{key}", value if isinstance(value, str) else json.dumps(value))]
