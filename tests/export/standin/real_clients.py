# SPDX-License-Identifier: Apache-2.0
"""Clients that ask good questions without a pause and compare every answer."""

import threading
import time

import numpy as np

from export.client import GrpcClient, RestClient


def good_inputs(trained, server):
    """{signature: inputs that are answered}, one row each."""
    from export import replay
    episodes, source = trained.episodes(1, seed=7)
    batch = next(trained.batches(episodes, source))
    support = {name: batch[name][:, 0] for name in ("support_image", "support_mask")}
    client = GrpcClient(f"{server.host}:{server.grpc_port}")
    tuned = client.run("tune", support)
    client.close()
    shots = trained.shots
    kept = {name: np.repeat(value[:, None], shots, 1) for name, value in tuned.items()}
    many = {name: np.repeat(value[:, None], 3, 1) for name, value in kept.items()}
    query = {"query_image": batch["query_image"]}
    return {"segment": batch, "tune": support, "self_segment": support,
            "segment_bytes": replay.encoded(source, episodes[0]),
            "segment_tuned": query | kept, "segment_many": query | many}


class RealClients:
    """Threads that ask all signatures in turn, half of them by gRPC and half by REST.

    Args:
        server: `export.server_process.Address`.
        good: {signature: inputs}.
        clients: how many threads.
        pause: seconds between a thread's requests.

    Attributes:
        seconds: of each answered request.
        answered: how many requests, by thread.
        lost: errors of requests that got no answer.
        wrong: signatures whose answer was another than at first.
    """

    def __init__(self, server, good, clients=2, pause=0.0):
        self.seconds, self.lost, self.wrong = [], [], []
        self.answered = [0] * clients
        self._good, self._pause, self._stop = good, pause, threading.Event()
        first = GrpcClient(f"{server.host}:{server.grpc_port}")
        self._due = {name: first.run(name, inputs) for name, inputs in good.items()}
        first.close()
        kinds = [(GrpcClient, server.grpc_port), (RestClient, server.rest_port)]
        self._threads = [
            threading.Thread(target=self._ask, args=(i, kind(f"{server.host}:{port}")))
            for i in range(clients) for kind, port in [kinds[i % 2]]]

    def __enter__(self):
        """Start; back once each thread has had an answer, has lost a request or is dead."""
        for thread in self._threads:
            thread.start()
        for number, thread in enumerate(self._threads):
            while thread.is_alive() and not (self.answered[number] or self.lost):
                time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self):
        """Every thread was answered, each of its requests, and rightly."""
        assert not self.lost and not self.wrong, (self.lost[:3], self.wrong[:3])
        assert all(self.answered), self.answered

    def _ask(self, number, client):
        while not self._stop.wait(self._pause):
            for name, inputs in self._good.items():
                start = time.perf_counter()
                try:
                    answer = client.run(name, inputs)
                except Exception as error:  # of any kind: a thread that dies asks nothing more
                    self.lost.append(f"{name}: {error!r}")
                    continue
                self.seconds.append(time.perf_counter() - start)
                self.answered[number] += 1
                if not same(answer, self._due[name]):
                    self.wrong.append(name)
        client.close()


def same(answer, due):
    """Equal names, shapes, bytes and whole numbers; floats within 1e-5."""
    return set(answer) == set(due) and all(
        answer[name].shape == value.shape and (
            np.allclose(answer[name], value, atol=1e-5) if value.dtype.kind == "f"
            else np.array_equal(answer[name], value)) for name, value in due.items())
