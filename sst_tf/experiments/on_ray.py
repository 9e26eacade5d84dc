# SPDX-License-Identifier: Apache-2.0
"""Runs of a grid on Ray: the machines of a cluster that see one file system, or this one."""

import concurrent.futures
import os
import sys
from pathlib import Path

import ray

from sst_tf.experiments.executors import Children, train
from sst_tf.experiments.grid import Cell

PATIENCE = 30  # seconds that stopped runs have to end


class OnRay:
    """An `Executor` (`sst_tf.experiments.executors`) within `sst_tf.runs.ray_cluster.cluster`.

    Args:
        cpus: CPUs, and threads, of a run.
        gpus: of a run; Ray hides those that nobody asked for.
        python: of the runs; that of Ray's processes by default.
    """

    def __init__(self, cpus: int, gpus: float = 0, python: str | None = None):
        self.cpus, self.python = cpus, python
        # A run that was lost with its machine is not begun again unasked: the grid tells of it.
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_train)
        self._running: list[ray.ObjectRef] = []

    def submit(self, cells: list[Cell]) -> concurrent.futures.Future:
        """As of `Executor`."""
        self._running.append(self._task.remote(Path.cwd(), cells, self.python, self.cpus))
        return self._running[-1].future()

    def stop(self) -> None:
        """As of `Executor`."""
        for one in self._running:
            ray.cancel(one)
        ray.wait(self._running, num_returns=len(self._running), timeout=PATIENCE)


def _train(folder, cells, python, cpus):
    children = Children()
    try:
        os.chdir(folder)  # where paths of configurations begin
    except OSError as error:
        return f"{folder}: {error.strerror} on {os.uname().nodename}; runs go to machines that " \
               "see one file system"
    try:
        return train(cells, python or sys.executable, children, cpus)
    except BaseException:  # the run was cancelled
        children.stop()
        raise
