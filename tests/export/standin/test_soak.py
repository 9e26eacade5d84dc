# SPDX-License-Identifier: Apache-2.0
"""The long form: thousands of malformed requests, and memory over many minutes of them.

    make test-server-faults REQUESTS=10000 MINUTES=30
"""

import itertools
import os
import time

import numpy as np
import pytest
from scipy import stats

from tests.export.standin.hostile import held_connections, memory
from tests.export.standin.malformed import PROTOCOLS, SIGNATURES, Sender
from tests.export.standin.real_clients import RealClients

REQUESTS = int(os.environ.get("SST_REQUESTS", "10000"))
MINUTES = float(os.environ.get("SST_MINUTES", "30"))
PAUSE = 0.1  # of a real client, once it has asked every signature
WARM = 0.1  # of the soak: memory that the allocators take first is no leak
SLOPE = 0.5  # MB a minute that memory may be sure to grow
pytestmark = pytest.mark.slow


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def sender(server, good):
    one = Sender(server, good)
    yield one
    one.close()


def report(capsys, line):
    with capsys.disabled():
        print(f"\n{line}", flush=True)


def told(sender, clients):
    sent = ", ".join(f"{number} by {protocol}" for protocol, number in sender.sent.items())
    p50, p99 = np.percentile(clients.seconds, [50, 99]) * 1000
    return (f"{sum(sender.sent.values())} malformed requests ({sent}); real clients: "
            f"{len(clients.seconds)} answered, {len(clients.lost)} lost, {len(clients.wrong)} "
            f"wrong, median {p50:.0f} ms, p99 {p99:.0f} ms")


def test_many_malformed_requests(server, sender, good, capsys):
    kinds = list(itertools.product(SIGNATURES, PROTOCOLS))
    with RealClients(server, good, clients=4, pause=PAUSE) as clients:
        for number, (signature, protocol) in enumerate(kinds):
            share = REQUESTS * (number + 1) // len(kinds) - REQUESTS * number // len(kinds)
            sender.run(signature, protocol, share, 1000 + number)
    report(capsys, told(sender, clients))
    assert server.alive() and sum(sender.sent.values()) >= REQUESTS
    clients.check()


def test_memory_is_flat(server, sender, good, capsys):
    pid, samples, start = server.process.pid, [], time.monotonic()
    rounds = itertools.cycle(itertools.product(SIGNATURES, PROTOCOLS))
    with RealClients(server, good, clients=4, pause=PAUSE) as clients:
        for turn in itertools.count():
            minutes = (time.monotonic() - start) / 60
            if minutes > MINUTES:
                break
            signature, protocol = next(rounds)
            with held_connections(server, 2):
                sender.run(signature, protocol, 15, 10_000 + turn)
            samples.append((minutes, memory(pid)))
    times, sizes = np.array([one for one in samples if one[0] >= WARM * MINUTES]).T
    slope, _, low, high = stats.theilslopes(sizes, times, 0.95)
    report(capsys, f"{told(sender, clients)}; memory over {times[-1] - times[0]:.1f} minutes, "
           f"{len(times)} samples from {sizes[0]:.0f} to {sizes[-1]:.0f} MB (largest "
           f"{sizes.max():.0f}): slope {slope:+.3f} MB a minute, 95 % interval {low:+.3f} to "
           f"{high:+.3f}")
    assert server.alive()
    clients.check()
    assert low < SLOPE, samples
