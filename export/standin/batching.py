# SPDX-License-Identifier: Apache-2.0
"""Requests answered together, as TensorFlow Serving's batching session does.

A queue for each version, signature and set of outputs; a batch is run once it is full or its first
request has waited long enough. What one request of a batch does wrong, all of it get: so it is in
the server (tensorflow_serving/batching/batching_session.cc), and so it is here.
"""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from export.standin.batching_config import Parameters
from export.standin.errors import (
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    RequestError,
)
from export.standin.runtime import RuntimeFailure, SavedModel

RETRY_SECONDS = 0.01  # how long a full queue is asked again


@dataclass
class _Task:
    inputs: dict[str, np.ndarray]
    size: int
    due: float | None
    answer: Future = field(default_factory=Future)


@dataclass
class _Batch:
    model: SavedModel
    signature: str
    outputs: tuple[str, ...]
    ready_at: float
    tasks: list[_Task] = field(default_factory=list)
    closed: bool = False

    @property
    def size(self):
        return sum(task.size for task in self.tasks)


class Batcher:
    """Threads that run batches.

    Args:
        parameters: of the server's batching parameters file.

    Attributes:
        sizes: how many batches ran, by the number of their rows, padding included.
    """

    def __init__(self, parameters: Parameters):
        self.parameters = parameters
        self.sizes: dict[int, int] = {}
        self._queues: dict[tuple, list[_Batch]] = {}  # only such as hold a batch
        self._changed = threading.Condition()
        for _ in range(parameters.num_batch_threads):
            threading.Thread(target=self._work, daemon=True).start()

    def run(self, model: SavedModel, signature: str, inputs: dict[str, np.ndarray],
            outputs: list[str], seconds: float | None = None) -> dict[str, np.ndarray]:
        """`SavedModel.run`, together with others'.

        Raises:
            RequestError: the request cannot be in a batch, the queue is full, or time is up.
            RuntimeFailure: what the graph refused, of this request or of another in the batch.
        """
        now = time.monotonic()
        task = _Task(inputs, self._rows(inputs), None if seconds is None else now + seconds)
        while not self._enqueue(model, signature, tuple(sorted(outputs)), task):
            if time.monotonic() > now + RETRY_SECONDS:
                raise RequestError(UNAVAILABLE, "The batch scheduling queue to which this task "
                                                "was submitted is full")
            time.sleep(RETRY_SECONDS / 10)
        return task.answer.result()

    def _rows(self, inputs):
        limit = self.parameters.max_batch_size
        if not all(np.ndim(value) for value in inputs.values()):
            raise RequestError(INVALID_ARGUMENT,
                               "Batching Run() input tensors must have at least one dimension")
        sizes = {len(value) for value in inputs.values()}
        if len(sizes) != 1:
            raise RequestError(INVALID_ARGUMENT,
                               "Batching Run() input tensors must have equal 0th-dimension size")
        size, = sizes
        if size > limit:
            raise RequestError(INVALID_ARGUMENT, f"Task size {size} is larger than maximum input "
                                                 f"batch size {limit}")
        if not size:  # the server would pad the batch with a first row that is not there
            raise RequestError(INVALID_ARGUMENT, "a request without a row cannot be in a batch")
        return size

    def _enqueue(self, model, signature, outputs, task):
        limit = self.parameters.max_batch_size
        with self._changed:
            key = (id(model), signature, outputs)
            queue = self._queues.get(key, [])
            last = queue[-1] if queue and not queue[-1].closed else None
            if last and last.size + task.size > limit:
                last.closed, last = True, None
            if last is None:
                if len(queue) >= self.parameters.max_enqueued_batches:
                    return False
                wait = self.parameters.batch_timeout_micros / 1e6
                last = _Batch(model, signature, outputs, time.monotonic() + wait)
                self._queues[key] = queue
                queue.append(last)
            last.tasks.append(task)
            last.closed = last.size == limit
            self._changed.notify()
            return True

    def _work(self):
        while True:
            batch = self._next()
            try:
                self._process(batch)
            except (RequestError, RuntimeFailure) as error:
                _fail(batch, error)
            except Exception as error:  # a thread that dies would leave its clients waiting
                _fail(batch, RequestError(INTERNAL, repr(error)))
            del batch  # a version that was let go of would stay until the next batch

    def _next(self):
        """The batch that became ready first; waits for one."""
        with self._changed:
            while True:
                now = time.monotonic()
                ready = {key: 0.0 if queue[0].closed else queue[0].ready_at
                         for key, queue in self._queues.items()}
                key = min(ready, key=ready.__getitem__, default=())
                if ready and ready[key] <= now:
                    queue = self._queues.pop(key)
                    batch = queue.pop(0)
                    batch.closed = True
                    if queue:  # to the end of the round, so that every queue has its turn
                        self._queues[key] = queue
                    self._changed.notify()
                    return batch
                self._changed.wait(ready[key] - now if ready else None)

    def _process(self, batch):
        now = time.monotonic()
        dues = [task.due for task in batch.tasks]
        seconds = None if None in dues else max(dues) - now
        if seconds is not None and seconds <= 0:
            raise RequestError(RESOURCE_EXHAUSTED,
                               "Run() timeout exceeded while waiting in batching queue")
        allowed = self.parameters.allowed_batch_sizes
        size = next((s for s in allowed if s >= batch.size), batch.size)
        inputs = {name: _joined(name, [task.inputs[name] for task in batch.tasks],
                                size - batch.size) for name in batch.tasks[0].inputs}
        outputs = batch.model.run(batch.signature, inputs, list(batch.outputs), seconds)
        for name, value in outputs.items():
            if not value.ndim or len(value) != size:
                raise RequestError(FAILED_PRECONDITION, f"Batched output tensor {name}: 0th "
                                   "dimension is not the sum of the inputs'")
        with self._changed:
            self.sizes[size] = self.sizes.get(size, 0) + 1
        start = 0
        for task in batch.tasks:
            rows = slice(start, start + task.size)
            task.answer.set_result({name: value[rows] for name, value in outputs.items()})
            start += task.size


def _joined(name, values, padding):
    if len({value.shape[1:] for value in values}) > 1:
        raise RequestError(FAILED_PRECONDITION, f"Tensors with name '{name}' from different tasks "
                           "have different shapes and padding is turned off.")
    if len({value.dtype for value in values}) > 1:
        raise RequestError(INTERNAL, f"Tensor concat operation failed: {name} has several types")
    padded = [*values, *[values[-1][:1]] * padding]  # a row that is known to be a valid one
    return np.concatenate(padded) if len(padded) > 1 else values[0]


def _fail(batch, error):
    for task in batch.tasks:
        if not task.answer.done():
            task.answer.set_exception(error)
