# SPDX-License-Identifier: Apache-2.0
"""The clients that watch a server: whatever happens to one of them is noticed."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.export.standin import real_clients

SERVER = SimpleNamespace(host="h", grpc_port=1, rest_port=2)
ANSWER = {"mask": np.arange(3.0)}


class Answering:
    """A client in the place of both protocols'."""

    def __init__(self, address):
        pass

    def run(self, signature, inputs):
        return ANSWER

    def close(self):
        pass


@pytest.fixture
def check(monkeypatch):
    """check(client of REST): what the watchers say where gRPC is answered as it should be."""
    def check(rest):
        monkeypatch.setattr(real_clients, "GrpcClient", Answering)
        monkeypatch.setattr(real_clients, "RestClient", rest)
        with real_clients.RealClients(SERVER, {"segment": {}}, pause=0.001) as clients:
            pass
        clients.check()
    return check


def test_right_answers(check):
    check(Answering)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [TypeError, SystemExit])
def test_a_thread_that_fails_is_noticed_while_another_is_answered(check, error):
    class Failing(Answering):
        def run(self, signature, inputs):
            raise error("no request was sent")

    with pytest.raises(AssertionError):
        check(Failing)


@pytest.mark.parametrize("other", [np.arange(3.0) + 1, np.arange(3.0)[None], np.zeros((2, 0))])
def test_another_answer_is_noticed(check, other):
    class Wrong(Answering):
        def run(self, signature, inputs):
            return {"mask": other}

    with pytest.raises(AssertionError, match="segment"):
        check(Wrong)
