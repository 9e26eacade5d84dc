# SPDX-License-Identifier: Apache-2.0
"""Requests answered together: as each alone, joined as the server's parameters say."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import export
from export.standin.batching import Batcher
from export.standin.batching_config import Parameters, read_parameters
from export.standin.errors import RequestError
from export.standin.models_config import ModelConfig
from export.standin.repository import Repository
from export.standin.runtime import RuntimeFailure, SavedModel
from pipelines.errors import UserError
from tests.export.standin.real_clients import same

KIT = Path(export.__file__).parent / "serving" / "batching.config"
LONG = 10**7  # microseconds, more than any test waits
KIT_SIZES = Parameters(8, 5000, 64, 2, (1, 2, 4, 8))


def test_the_kit_s_file_is_read():
    assert read_parameters(KIT) == KIT_SIZES


@pytest.mark.parametrize("text, reason", [
    ("max_batch_size { value: 0 }", "max_batch_size: expected at least 1"),
    ("num_batch_threads { value: -1 }", "num_batch_threads"),
    ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "last equal to max_batch_size"),
    ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 4]", "increasing"),
    ("max_batch_size: 8", "no batching parameters"), ("colour: 1", "no batching parameters"),
    ("pad_variable_length_inputs: true", "padding would change photos")])
def test_a_file_that_no_server_starts_with(text, reason, tmp_path):
    (tmp_path / "b.config").write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        read_parameters(tmp_path / "b.config")
    assert "b.config" in str(caught.value)


class Model:
    """Doubles x; notes the batches; may wait at a gate."""

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def run(self, signature, inputs, outputs, seconds):
        self.gate.wait(10)
        self.batches.append(inputs["x"].tolist())
        if (inputs["x"] < 0).any():
            raise RuntimeFailure(3, "x: negative")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def together():
    """Send rows from a thread each, one after the other; what each got."""
    def run(batcher, model, *rows, signature="s", wait=0.0, seconds=None):
        def ask(number, value):
            time.sleep(0.03 * number + wait)
            try:
                return batcher.run(model, signature, {"x": np.asarray(value)}, ["y"],
                                   seconds)["y"].tolist()
            except (RequestError, RuntimeFailure) as error:
                return error
        with ThreadPoolExecutor(len(rows)) as pool:
            return list(pool.map(ask, range(len(rows)), rows))
    return run


def test_a_full_batch_runs_at_once_and_is_taken_apart(together):
    model, batcher = Model(), Batcher(Parameters(4, LONG, 10, 1))
    assert together(batcher, model, [1], [2, 3], [4]) == [[2], [4, 6], [8]]
    assert model.batches == [[1, 2, 3, 4]]


def test_a_batch_that_does_not_fill_runs_after_its_time_and_is_padded(together):
    model, batcher = Model(), Batcher(Parameters(8, 200_000, 10, 1, (2, 8)))
    start = time.monotonic()
    assert together(batcher, model, [1], [2], [3]) == [[2], [4], [6]]
    assert model.batches == [[1, 2, 3, 3, 3, 3, 3, 3]], "the last request's first row pads"
    assert time.monotonic() - start > 0.19 and batcher.sizes == {8: 1}


def test_a_request_that_does_not_fit_closes_the_batch(together):
    model, batcher = Model(), Batcher(Parameters(4, 300_000, 10, 1))
    assert together(batcher, model, [1, 2, 3], [4, 5], [6]) == [[2, 4, 6], [8, 10], [12]]
    assert model.batches == [[1, 2, 3], [4, 5, 6]]


def test_signatures_and_versions_are_not_joined(together):
    one, two, batcher = Model(), Model(), Batcher(Parameters(4, 50_000, 10, 2))
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(together, batcher, model, [1], [2], signature=name)
                 for model, name in ((one, "a"), (one, "b"), (two, "a"))]
        assert [call.result() for call in calls] == [[[2], [4]]] * 3
    assert len(one.batches) >= 2 and len(two.batches) >= 1


def test_what_one_does_wrong_all_of_its_batch_get(together):
    """As in the server: batching is for clients that one trusts."""
    model, batcher = Model(), Batcher(Parameters(3, LONG, 10, 1))
    bad = together(batcher, model, [1], [-2], [3])
    assert [error.code for error in bad] == [3, 3, 3] and "negative" in str(bad[0])
    shapes = together(batcher, model, [[1, 2]], [[1, 2, 3]], [[1, 2]])
    assert {error.code for error in shapes} == {9}
    assert "different shapes and padding is turned off" in str(shapes[0])
    types = together(batcher, model, [1], [1.5], [2])
    assert {error.code for error in types} == {13}
    assert together(batcher, model, [1], [2], [3]) == [[2], [4], [6]], "the next batch is well"


def test_what_cannot_be_in_a_batch(together):
    batcher = Batcher(Parameters(4, 0, 10, 1))
    for value, reason in ((5, "at least one dimension"), (np.zeros((0, 2)), "without a row"),
                          (np.zeros(5), "Task size 5 is larger than maximum input batch size 4")):
        error, = together(batcher, Model(), value)
        assert error.code == 3 and reason in str(error)
    with pytest.raises(RequestError, match="equal 0th-dimension size"):
        batcher.run(Model(), "s", {"x": np.zeros(2), "z": np.zeros(3)}, ["y"])


def test_a_full_queue_refuses(together):
    model, batcher = Model(), Batcher(Parameters(1, 0, 2, 1))
    model.gate.clear()
    threading.Timer(0.6, model.gate.set).start()
    answers = together(batcher, model, [1], [2], [3], [4], [5])
    assert answers[:3] == [[2], [4], [6]], "one runs, two wait"
    assert [error.code for error in answers[3:]] == [14, 14]
    assert "queue to which this task was submitted is full" in str(answers[3])


def test_time_that_passed_in_the_queue(together):
    model, batcher = Model(), Batcher(Parameters(1, 0, 10, 1))
    model.gate.clear()
    threading.Timer(0.4, model.gate.set).start()
    first, second = together(batcher, model, [1], [2], seconds=0.2)
    assert first == [2] and second.code == 8 and "batching queue" in str(second)


@pytest.fixture(scope="module")
def rows(trained):
    """Six requests of one row for each signature."""
    batch = next(trained.batches(*trained.episodes(6, seed=11), batch=6))
    each = [{name: value[i:i + 1] for name, value in batch.items()} for i in range(6)]
    support = [{name: one[name][:, 0] for name in ("support_image", "support_mask")}
               for one in each]
    return {"segment": each, "tune": support, "self_segment": support}


def test_answers_are_those_of_each_alone(exported, rows):
    model, batcher = SavedModel(exported), Batcher(KIT_SIZES)
    for signature, requests in rows.items():
        outputs = list(model.signatures[signature][1])
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda one: batcher.run(model, signature, one, outputs),  # noqa: B023
                                    requests))
        for answer, request in zip(answers, requests, strict=True):
            assert same(answer, model.run(signature, request)), signature
    assert max(batcher.sizes) > 1, "some were joined"


@pytest.mark.slow  # test_serve.py swaps under load, too
def test_a_swap_of_versions_loses_no_request_of_a_batch(exported, rows, tmp_path):
    shutil.copytree(exported, tmp_path / "1")
    batcher = Batcher(KIT_SIZES)
    models = Repository({"sst": ModelConfig(str(tmp_path))}, lambda line: None, batcher)
    models.refresh()
    request = rows["tune"][0]
    due = models.run(models.model("sst")[1], "tune", request)
    stop, asked, wrong = threading.Event(), {1: 0, 2: 0}, []

    def ask():
        while not stop.is_set():
            version, model = models.model("sst")
            try:
                right = same(models.run(model, "tune", request), due)
            except Exception as error:  # of any kind: a thread that dies asks nothing more
                right = error
            asked[version] += 1
            if right is not True:
                wrong.append((version, right))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    shutil.copytree(exported, tmp_path / "2")
    models.refresh()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and all(asked.values()), (wrong, asked)
    assert [(v, state.name) for v, state in models.status("sst")] == [(2, "AVAILABLE"), (1, "END")]


def test_idle_threads_hold_no_version(together):
    import gc
    import weakref
    model, batcher = Model(), Batcher(Parameters(1, 0, 10, 2))
    assert together(batcher, model, [1], [2]) == [[2], [4]]
    gone = weakref.ref(model)
    del model
    time.sleep(0.1)
    gc.collect()
    assert gone() is None
