# SPDX-License-Identifier: Apache-2.0
"""A dataset's elements by way of tf.data service, each exactly once where there is a list."""

import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from pipelines.errors import DataError

STALL_S = 30.0  # of silence, after which what is missing is asked for again
ATTEMPTS = 10  # without a single element
PATIENCE_S = 10.0  # with a dispatcher that does not answer
WAITING = 16  # elements that may wait for the trainer


def distribute(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Let the workers of the dispatcher at "host:port" compute a dataset, each a part of it.

    An endless dataset goes on while a worker lives. What a killed worker was at is lost, and a
    finite dataset then never ends: for those, `exactly_once`.
    """
    service = tf.data.experimental.service
    return dataset.apply(service.distribute(service.ShardingPolicy.DYNAMIC, f"grpc://{address}"))


def refuse_nobody(address: str, option: str = "service") -> None:
    """TensorFlow would wait for a dispatcher without an end.

    Args:
        address: "host:port" of the dispatcher.
        option: which gave the address, for messages.
    Raises:
        DataError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{option} {address!r}: no dispatcher there ({error}); host:port of an "
                        "sst remote dispatcher is expected") from None


def exactly_once(remaining: Callable[[set[int]], tf.data.Dataset], episode_ids: Iterable[int],
                 address: str) -> Iterator[dict[str, tf.Tensor]]:
    """Elements of all the episodes, whatever happens to the workers that read them.

    tf.data service hands an episode to one worker, and waits for ever for one that is gone. Here
    what does not arrive is asked for again, what arrives twice is left out, and the end is when
    all are there.

    Args:
        remaining: a function of a set of episode ids; the dataset that computes them remotely.
        episode_ids: those wanted.
        address: for messages.

    Yields:
        Elements in the order of arrival.
    Raises:
        DataError: nothing arrived in `ATTEMPTS` passes one after the other.
        tf.errors.OpError: what a worker raised.
    """
    missing, vain = set(episode_ids), 0
    while missing:
        before = len(missing)
        for element in _until_stalled(remaining(missing)):
            number = int(element["episode_id"])
            if number in missing:
                missing.remove(number)
                yield element
            if not missing:
                return
        vain = vain + 1 if len(missing) == before else 0
        if vain == ATTEMPTS:
            raise DataError(f"{address}: {len(missing)} episodes do not arrive; is the dispatcher "
                            "there, and do its workers live (sst remote)?")


def _until_stalled(dataset):
    """Elements until the end, or until none came for so long; errors are raised."""
    arrived, done = queue.Queue(WAITING), threading.Event()

    def read():
        try:
            for element in dataset:
                _put(arrived, element, done)
                if done.is_set():
                    return
            _put(arrived, None, done)
        except Exception as error:
            _put(arrived, error, done)

    # A thread that waits for a dead worker cannot be called back: it is left behind.
    threading.Thread(target=read, daemon=True).start()
    try:
        while (element := arrived.get(timeout=STALL_S)) is not None:
            if isinstance(element, Exception):
                raise element
            yield element
    except queue.Empty:
        return
    finally:
        done.set()


def _put(arrived, element, done):
    while not done.is_set():
        try:
            return arrived.put(element, timeout=1.0)
        except queue.Full:
            continue
