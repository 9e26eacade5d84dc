# SPDX-License-Identifier: Apache-2.0
"""A model server as a child process: the stand-in, or TensorFlow's own where there is one."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError

STANDIN, REAL, CONTAINER = "stand-in", "tensorflow_model_server", "container"
KINDS = (STANDIN, REAL, CONTAINER)
IMAGE = "SST_SERVING_IMAGE"  # the container image, if another than the kit's
# This machine is asked itself, whatever proxy the environment names.
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
READY = re.compile(r"REST (\S+):(\d+) gRPC \S+:(\d+)")
# The package that runs here, found where this file is. `-m` would look in the current folder first,
# where a file of the user's may be called export.py; -P keeps that folder off the path.
ROOT = str(Path(__file__).parents[1])
START = (f"import sys; {ROOT!r} in sys.path or sys.path.insert(0, {ROOT!r}); "
         "from export.serve import main; main()")


@dataclass
class Address:
    """Where a server listens.

    Attributes:
        kind: one of `KINDS`.
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


def best() -> str:
    """TensorFlow's own server where it is on PATH, else the stand-in."""
    return REAL if real_server() else STANDIN


def missing(kind: str) -> str | None:
    """Why there is no server of a kind here; None where there is one. Pulls no image."""
    if kind == REAL and real_server() is None:
        return f"{REAL} is not on PATH"
    if kind == CONTAINER:
        engines = [name for name in ("docker", "podman") if shutil.which(name)]
        if not engines:
            return "neither docker nor podman is on PATH"
        if not any(_has_image(engine) for engine in engines):
            return f"{' and '.join(engines)}: no image {_image()}, or no daemon that runs"
    return None


@contextlib.contextmanager
def serving(base_path: str | Path, name: str = "sst", kind: str = STANDIN, seconds: float = 300,
            options: Sequence[str] = ()) -> Iterator[Address]:
    """`Address` of a server of the versions under `base_path`; stopped at the end.

    Args:
        base_path: folder of versions.
        name: of the model.
        kind: one of `KINDS`.
        seconds: how long its start may take.
        options: further ones, which both servers know; their files lie under `base_path`. Where
            --model_config_file is among them, it says what is served.
    """
    host, base_path = "127.0.0.1", Path(base_path).resolve()  # the real one takes no other path
    models = [f"--model_name={name}", f"--model_base_path={base_path}"]
    if any(option.startswith("--model_config_file=") for option in options):
        models = []
    polling = "--file_system_poll_wait_seconds="
    if kind == STANDIN:
        rest = grpc = 0
        command = [sys.executable, "-P", "-c", START, "--host", host, "--port=0",
                   "--rest_api_port=0", f"{polling}0.2", *models, *options]
    else:
        rest, grpc = _free_port(), _free_port()
        command = [*_real_command(kind, base_path), f"--port={grpc}", f"--rest_api_port={rest}",
                   f"{polling}1", *models, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or []), daemon=True)
    reader.start()
    address = Address(kind, host, rest, grpc, process, lines)
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
        with DIRECTLY.open(url, timeout=5) as answer:
            states = json.load(answer)["model_version_status"]
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return any(one["state"] == "AVAILABLE" for one in states)


def _real_command(kind, base_path):
    if kind == REAL:
        return [REAL]
    engine = next(name for name in ("docker", "podman") if shutil.which(name) and _has_image(name))
    return [engine, "run", "--rm", "--network=host", f"--volume={base_path}:{base_path}:ro",
            f"--entrypoint={REAL}", _image()]


def _image():
    compose = Path(__file__).parent / "serving" / "compose.yaml"
    default = re.findall(r"image: (\S+)", compose.read_text(encoding="utf-8"))[0]
    return os.environ.get(IMAGE, default)


def _has_image(engine):
    try:
        return not subprocess.run([engine, "image", "inspect", _image()], capture_output=True,
                                  timeout=30).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
