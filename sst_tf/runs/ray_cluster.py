# SPDX-License-Identifier: Apache-2.0
"""Ray: of an address, or on this machine alone. Needs the extra `batch`."""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator

import ray
import ray.exceptions

from pipelines.errors import UserError

WORKERS = re.compile(r"pipelines\.errors\.\w+: (.+)")  # a user's error that a worker raised


@contextlib.contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[None]:
    """Ray at an address; without one a Ray of so many CPUs that ends with the block.

    Raises:
        UserError: no Ray there, or what a worker failed of.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    init = functools.partial(ray.init, logging_level=logging.CRITICAL, log_to_driver=False)
    try:
        if address:
            init(address)
        else:
            init("local", num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--address {address}: no Ray there ({error})") from None
    try:
        yield
    except ray.exceptions.RayError as error:
        told = WORKERS.findall(str(error)) or str(error).strip().splitlines()[-1:]
        raise UserError(told[-1]) from None
    finally:
        ray.shutdown()
