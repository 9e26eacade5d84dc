# SPDX-License-Identifier: Apache-2.0
"""One stand-in for all tests that leave it as it was; its start takes longest."""

import pytest

from export import server_process
from tests.export.standin.real_clients import good_inputs


@pytest.fixture(scope="session")
def shared_server(exported):
    with server_process.serving(exported.parent) as address:
        yield address


@pytest.fixture(scope="session")
def good(trained, shared_server):
    """{signature: inputs that are answered}."""
    return good_inputs(trained, shared_server)
