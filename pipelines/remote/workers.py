# SPDX-License-Identifier: Apache-2.0
"""The servers of tf.data service: a dispatcher, and workers that read.

A worker opens the data set at its own path and offers its readers by name; the trainer's graph is
sent to it and calls them there, so files, decoding and errors are those of local reading.
"""

import os

import tensorflow as tf

from pipelines.remote.functions import offer
from pipelines.sources import Source

HEARTBEAT_MS = 1_000
LOST_MS = 10_000  # of a worker


def dispatcher(port: int = 0, work_dir: str | os.PathLike | None = None
               ) -> tf.data.experimental.service.DispatchServer:
    """A started `DispatchServer`; it tells the workers who reads what.

    Args:
        port: 0 takes a free one.
        work_dir: a folder that outlives the process, from which a dispatcher started anew on the
            same port goes on.
    """
    return tf.data.experimental.service.DispatchServer(
        tf.data.experimental.service.DispatcherConfig(
            port=port, work_dir=work_dir, fault_tolerant_mode=work_dir is not None,
            job_gc_check_interval_ms=HEARTBEAT_MS, worker_timeout_ms=LOST_MS))


def worker(source: Source, address: str, host: str = "localhost",
           port: int = 0) -> tf.data.experimental.service.WorkerServer:
    """A started `WorkerServer` that reads photos of `source`.

    Args:
        address: "host:port" of the dispatcher.
        host: by which trainers reach this machine.
        port: 0 takes a free one.
    """
    offer(source)
    return tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(
            dispatcher_address=address, worker_address=f"{host}:%port%", port=port,
            heartbeat_interval_ms=HEARTBEAT_MS))
