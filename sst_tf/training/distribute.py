# SPDX-License-Identifier: Apache-2.0
"""Training on several devices or machines, by `tf.distribute`."""

import json
import os
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from pipelines.errors import UserError

EXAMPLE = ('TF_CONFIG=\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
           '"task": {"type": "worker", "index": 0}}\'')


def open_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute.Strategy` of `train.strategy`; TensorFlow's own where it is "none".

    "multi_worker" must be opened before TensorFlow has computed anything.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise UserError("train.strategy multi_worker: each worker needs the addresses of all "
                            f"and its own index, in the environment: {EXAMPLE}")
        refuse_cluster(os.environ["TF_CONFIG"])
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise UserError(f"TF_CONFIG: {' '.join(str(error).split())}; the form is {EXAMPLE}"
                            ) from None
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def refuse_cluster(text: str) -> None:
    """Refuse a TF_CONFIG with which TensorFlow would train on this machine alone, or wait for ever.

    Raises:
        UserError: what is wrong in it, and the form.
    """
    fault = _cluster_fault(text)
    if fault:
        raise UserError(f"TF_CONFIG: {fault}; the form is {EXAMPLE}")


def _cluster_fault(text):
    try:
        given = json.loads(text)
    except ValueError as error:
        return f"no JSON ({error})"
    cluster, task = (given.get(key) if isinstance(given, dict) else None
                     for key in ("cluster", "task"))
    workers = cluster.get("worker") if isinstance(cluster, dict) else None
    if not isinstance(workers, list) or not workers:
        return "cluster.worker, a list of host:port, is missing"
    for address in workers:
        if not _is_address(address):
            return f"cluster.worker: {address!r} is no host:port with a port of 1 to 65535"
    kind, index = (task.get(key) if isinstance(task, dict) else None for key in ("type", "index"))
    if kind != "worker":
        return f'task.type: {kind!r}, "worker" is expected'
    if type(index) is not int or not 0 <= index < len(workers):
        return (f"task.index: {index!r}, this machine's place in cluster.worker is expected, 0 to "
                f"{len(workers) - 1}")
    return None


def _is_address(address):
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535


def refuse_uneven(batch: int, devices: int) -> None:
    """Each step's episodes are shared evenly among the devices.

    Raises:
        UserError: a batch that they cannot share.
    """
    if batch % devices:
        raise UserError(f"train.batch: {batch} episodes a step cannot be shared evenly among "
                        f"{devices} devices; expected a multiple of {devices}")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run's files: worker 0, or the only one."""
    return worker_of(strategy)[0] == 0


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(index of this process, how many train together)."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().jobs:
        return 0, 1
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return when every worker has come here."""
    def meet():
        return tf.distribute.get_replica_context().all_reduce("SUM", tf.ones([]))

    if worker_of(strategy)[1] > 1:
        strategy.run(tf.function(meet))


def share(strategy: tf.distribute.Strategy, variables: Sequence) -> None:
    """Give all workers the mean of what each has learned by itself."""
    def averaged():
        own = [tf.identity(variable) for variable in variables]
        return tf.distribute.get_replica_context().all_reduce("MEAN", own)

    if worker_of(strategy)[1] > 1:
        shared = strategy.run(tf.function(averaged))
        for variable, value in zip(variables, shared, strict=True):
            variable.assign(strategy.experimental_local_results(value)[0])


def fit_workers(model: keras.Model, strategy: tf.distribute.Strategy, episodes: Callable, *,
                epochs: int, initial_epoch: int, steps_per_epoch: int, callbacks: list,
                verbose) -> None:
    """Keras' `fit` for several workers, which Keras 3 leaves out: `train_step` is unchanged.

    Args:
        episodes: a function of `tf.distribute.InputContext`; this worker's batches, each for one
            replica.
    """
    batches = iter(strategy.distribute_datasets_from_function(episodes))

    @tf.function
    def step(batches):
        logs = strategy.run(model.train_step, args=(next(batches),))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

    listeners = keras.callbacks.CallbackList(
        callbacks, add_history=True, add_progbar=verbose != 0, model=model, epochs=epochs,
        steps=steps_per_epoch, verbose=verbose)
    listeners.on_train_begin()
    logs = {}
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        listeners.on_epoch_begin(epoch)
        for number in range(steps_per_epoch):
            listeners.on_train_batch_begin(number)
            logs = {name: float(value) for name, value in step(batches).items()}
            listeners.on_train_batch_end(number, logs)
        listeners.on_epoch_end(epoch, logs)
    listeners.on_train_end(logs)
