# SPDX-License-Identifier: Apache-2.0
"""Clients that hold connections: they send nothing, half of something, or too slowly."""

import contextlib
import socket
import threading
from pathlib import Path

import grpc
import pytest

from tests.export.standin.malformed import PREDICT

HEAD = b"POST /v1/models/sst:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HALVES = {  # what is sent before the client falls silent: (port, bytes)
    "nothing": ("rest", b""),
    "half a head": ("rest", HEAD % 100),
    "half a body": ("rest", HEAD % 100 + b"\r\n{\"inputs\": "),
    "half a chunk": ("rest", b"POST /v1/models/sst:predict HTTP/1.1\r\nHost: x\r\n"
                             b"Transfer-Encoding: chunked\r\n\r\nff\r\n{"),
    "no HTTP": ("rest", b"\x00\xff" * 50),
    "nothing to gRPC": ("grpc", b""),
    "half a preface": ("grpc", HTTP2[:10]),
    "a preface": ("grpc", HTTP2),
    "a frame that lies": ("grpc", HTTP2 + b"\xff\xff\xff\x00\x01\x00\x00\x00\x01"),
}


def connect(server, kind):
    """A socket that has sent a half of something."""
    port, data = HALVES[kind]
    held = socket.create_connection(
        (server.host, server.rest_port if port == "rest" else server.grpc_port), timeout=30)
    held.sendall(data)
    return held


@contextlib.contextmanager
def held_connections(server, each):
    """{kind: sockets}, `each` of every kind."""
    held = {kind: [connect(server, kind) for _ in range(each)] for kind in HALVES}
    try:
        yield held
    finally:
        for sockets in held.values():
            for one in sockets:
                one.close()


@contextlib.contextmanager
def half_calls(server, number):
    """gRPC calls that have begun and whose message never comes."""
    release = threading.Event()

    def never():
        release.wait()
        yield from ()

    channel = grpc.insecure_channel(f"{server.host}:{server.grpc_port}")
    calls = [channel.stream_unary(PREDICT).future(never()) for _ in range(number)]
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        release.set()
        channel.close()


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        pytest.skip("memory is read from /proc")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024
