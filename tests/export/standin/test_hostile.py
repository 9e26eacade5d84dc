# SPDX-License-Identifier: Apache-2.0
"""Clients that send nothing, half a request, or read nothing: the others are answered as ever."""

import asyncio
import socket
import threading
import time

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from export.standin import http_limits, rest_api
from export.standin.runtime import RuntimeFailure, SavedModel
from tests.export.standin.hostile import HALVES, HEAD, half_calls, held_connections
from tests.export.standin.real_clients import RealClients

EACH = 12  # connections of a kind; half calls are more than the server has threads


@pytest.fixture(scope="module")
def server(shared_server):
    return shared_server


def closed(held, seconds):
    """Whether the server ends a connection in time; an answer before that is fine."""
    held.settimeout(seconds)
    try:
        while held.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.mark.slow  # waits for time limits; `make test-server-faults` has it, too
def test_held_connections_stop_nobody(server, good):
    with (held_connections(server, EACH) as held, half_calls(server, 4 * EACH) as calls,
          RealClients(server, good, clients=4) as clients):
        start = time.monotonic()
        for kind in ("nothing", "half a head", "no HTTP", "half a preface", "a frame that lies"):
            for one in held[kind]:
                left = start + http_limits.HEAD_SECONDS + 10 - time.monotonic()
                assert closed(one, max(0.1, left)), kind
        assert not any(call.done() for call in calls)
        assert server.alive()
    clients.check()
    assert len(clients.seconds) >= 20, "they were answered all the time"
    assert set(held) == set(HALVES)


def test_a_body_that_is_too_large_is_not_read(server):
    with socket.create_connection((server.host, server.rest_port), timeout=10) as one:
        one.sendall(HEAD % (rest_api.MAX_BODY + 1) + b"\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 413")
    url = f"http://{server.host}:{server.rest_port}/v1/models/sst:predict"
    pieces = (b" " * 2**20 for _ in range(rest_api.MAX_BODY // 2**20 + 2))
    try:
        assert requests.post(url, data=pieces, timeout=60).status_code == 413
    except requests.ConnectionError:
        pass  # it was closed before all was sent
    assert server.alive()


def test_many_levels_of_lists_and_many_lists(server):
    url = f"http://{server.host}:{server.rest_port}/v1/models/sst:predict"
    for inner in ("[" * 2**20, "[" + "[]," * 2**20 + "[]]", "9" * 2**20):
        body = f'{{"signature_name": "segment_bytes", "instances": {inner}}}'
        assert requests.post(url, data=body, timeout=60).status_code == 400
    assert server.alive()


def test_a_deadline_that_is_too_short(server, trained):
    from export.client import GrpcClient, RequestFailed
    batch = next(trained.batches(*trained.episodes(1, seed=7)))
    client = GrpcClient(f"{server.host}:{server.grpc_port}", timeout=0.001)
    with pytest.raises(RequestFailed, match="DEADLINE_EXCEEDED"):
        client.run("segment", batch)
    client.timeout = 60
    assert client.run("segment", batch)["mask"].shape == batch["query_image"].shape[:3]


def test_work_that_takes_too_long(exported, trained):
    """The runtime gives up, as the server's does after --rest_api_timeout_in_ms."""
    batch = next(trained.batches(*trained.episodes(1, seed=7)))
    with pytest.raises(RuntimeFailure, match="DEADLINE_EXCEEDED") as caught:
        SavedModel(exported).run("segment", batch, seconds=0.001)
    assert rest_api.HTTP[caught.value.code] == 504


@pytest.fixture
def limited(monkeypatch):
    """An application behind `LimitedProtocol`, its limits cut to fractions of a second: port,
    connections that it holds."""
    for name in ("HEAD_SECONDS", "IDLE_SECONDS", "BODY_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(http_limits, name, 0.4)

    async def large(request):
        return PlainTextResponse("x" * 2**26)

    async def reading(request):
        try:
            async with asyncio.timeout(http_limits.BODY_SECONDS):
                return PlainTextResponse(f"{len(await request.body())}")
        except TimeoutError:
            return PlainTextResponse("late", 408)

    app = Starlette(routes=[Route("/large", large), Route("/body", reading, methods=["POST"])])
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=http_limits.LimitedProtocol,
                                               log_level="error", timeout_keep_alive=5))
        thread = threading.Thread(target=server.run, args=[[bound]])
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield bound.getsockname()[1], server.server_state.connections
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("pieces", [[b""], [b"GET /body"], [b"G"] + [b"E"] * 20])
def test_a_head_must_come_in_time(limited, pieces):
    """Byte by byte does not help: the time is for the whole head."""
    with socket.create_connection(("127.0.0.1", limited[0])) as one:
        start = time.monotonic()
        for piece in pieces:
            try:
                one.sendall(piece)
            except OSError:
                break
            time.sleep(0.05)
        assert closed(one, 3) and time.monotonic() - start < 3


def test_the_head_after_an_answer_must_come_in_time(limited):
    request = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    with socket.create_connection(("127.0.0.1", limited[0])) as one:
        for _ in range(3):  # a connection is used again as long as requests come
            one.sendall(request)
            answer = b""
            while not answer.endswith(b"\r\n\r\n2"):
                answer += one.recv(1000)
            time.sleep(0.2)
        one.sendall(b"POST")  # it ends the idle time, not the time for a head
        assert closed(one, 3)
    with socket.create_connection(("127.0.0.1", limited[0])) as one:
        one.sendall(request)
        assert closed(one, 3), "idle"


def test_a_slow_body_is_answered(limited):
    with socket.create_connection(("127.0.0.1", limited[0])) as one:
        one.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        one.settimeout(3)
        assert one.recv(1000).startswith(b"HTTP/1.1 408")


def test_an_answer_that_nobody_reads(limited):
    port, connections = limited
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(1)
        assert len(connections) == 1
        deadline = time.monotonic() + 5
        while connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not connections
