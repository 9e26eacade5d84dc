# SPDX-License-Identifier: Apache-2.0
"""How long a request takes, and how many are answered, while several clients ask a server."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from export import server_process
from export.client import GrpcClient

PERCENTILES = (50, 95, 99)
BATCHING = Path(__file__).parent / "serving" / "batching.config"


def latencies(clients: Sequence[Callable[[], object]], requests: int) -> tuple[list[float], float]:
    """(seconds of each request, requests a second) of `clients` that ask without a pause.

    Args:
        clients: one call each, which a thread of its own repeats.
        requests: how many in all.

    Raises:
        Exception: what the first failed request raised; one lost request makes the rate worthless.
    """
    left, failures, seconds = iter(range(requests)), [], []
    lock = threading.Lock()

    def work(call):
        while True:
            with lock:
                if failures or next(left, None) is None:
                    return
            start = time.perf_counter()
            try:
                call()
            except Exception as error:
                failures.append(error)
                return
            seconds.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=[call]) for call in clients]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return seconds, requests / (time.perf_counter() - start)


def report(models: Path, signature: str, inputs: dict[str, np.ndarray], clients: Sequence[int],
           requests: int) -> None:
    """Print latencies by gRPC without and with the kit's batching, for each number of clients.

    Args:
        models: folder of versions; of the model `sst`.
        signature, inputs: what is asked.
        clients: how many ask at once, one row each.
        requests: how many in a row of the table.
    """
    print(f"{signature} by gRPC, {requests} requests a row, milliseconds")
    print(f"{'':30}{'clients':>8}{'a second':>10}" + "".join(f"{f'p{p}':>8}" for p in PERCENTILES))
    for batching in (False, True):
        with _server(models, batching) as server:
            many = [GrpcClient(f"{server.host}:{server.grpc_port}", timeout=600)
                    for _ in range(max(clients))]
            calls = [lambda one=one: one.run(signature, inputs) for one in many]
            for call in calls:
                call()
            for number in clients:
                seconds, rate = latencies(calls[:number], requests)
                told = "".join(f"{1000 * np.percentile(seconds, p):8.0f}" for p in PERCENTILES)
                print(f"{server.kind + (', batching' if batching else ''):30}{number:8}"
                      f"{rate:10.2f}{told}", flush=True)
            for one in many:
                one.close()


def _server(models, batching) -> AbstractContextManager[server_process.Address]:
    options = ["--enable_batching", f"--batching_parameters_file={BATCHING}"] if batching else []
    return server_process.serving(models, kind=server_process.best(), options=options)
