# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's messages without TensorFlow."""

import contextlib
import importlib.util
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from export.standin import protos


def test_many_threads_read_the_messages_once(monkeypatch):
    spec = importlib.util.find_spec(protos.__name__)
    fresh = importlib.util.module_from_spec(spec)  # nothing of it has been read yet
    spec.loader.exec_module(fresh)
    reads, together = [], threading.Barrier(8)

    @contextlib.contextmanager
    def slow():
        reads.append(1)
        time.sleep(0.1)
        yield

    def ask(_):
        together.wait()
        return fresh.serving()

    monkeypatch.setattr(fresh, "_without_tensorflow", slow)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(reads) == 1 and all(one is found[0] for one in found)
