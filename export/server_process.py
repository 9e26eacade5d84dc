# SPDX-License-Identifier: Apache-2.0
"""A model server as a child process: the stand-in, or TensorFlow's own where it is installed."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError

REAL = "tensorflow_model_server"
READY = re.compile(r"REST (\S+):(\d+) gRPC \S+:(\d+)")


@dataclass
class Address:
    """Where a server listens.

    Attributes:
        kind: "stand-in" or "tensorflow_model_server".
        process: the `subprocess.Popen`.
        lines: what it has printed.
    """

    kind: str
    host: str
    rest_port: int
    grpc_port: int
    process: subprocess.Popen
    lines: list[str]

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None


def real_server() -> str | None:
    """Path of tensorflow_model_server, None where there is none."""
    return shutil.which(REAL)


@contextlib.contextmanager
def serving(base_path: str | Path, name: str = "sst", real: bool = False,
            seconds: float = 120) -> Iterator[Address]:
    """`Address` of a server of the versions under `base_path`; stopped at the end."""
    host = "127.0.0.1"
    if real:
        rest, grpc = _free_port(), _free_port()
        command = [REAL, f"--port={grpc}", f"--rest_api_port={rest}",
                   f"--model_name={name}", f"--model_base_path={base_path}"]
    else:
        rest = grpc = 0
        command = [sys.executable, "-m", "export.serve", "--model_base_path", str(base_path),
                   "--model_name", name, "--host", host, "--port", "0", "--rest_api_port", "0",
                   "--file_system_poll_wait_seconds", "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or []), daemon=True)
    reader.start()
    address = Address(REAL if real else "stand-in", host, rest, grpc, process, lines)
    try:
        _wait(address, name, time.monotonic() + seconds)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)


def _wait(address, name, deadline):
    while time.monotonic() < deadline:
        if not address.alive():
            raise UserError(f"{address.kind} ended at its start: {''.join(address.lines)[-500:]}")
        for line in list(address.lines):
            if match := READY.search(line):
                address.rest_port, address.grpc_port = int(match[2]), int(match[3])
        if address.rest_port and _available(address, name):
            return
        time.sleep(0.1)
    raise UserError(f"{address.kind}: not ready in time: {''.join(address.lines)[-500:]}")


def _available(address, name):
    url = f"http://{address.host}:{address.rest_port}/v1/models/{name}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            states = json.load(answer)["model_version_status"]
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return any(one["state"] == "AVAILABLE" for one in states)


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
