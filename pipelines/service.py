"""Reading on other processes or machines, by tf.data service: `python -m pipelines.service`.

A worker opens the data set at its own path and offers its readers by name; the trainer's graph is
sent to it and calls them there, so files, decoding and errors are those of local reading.
"""

import argparse
import sys
import time

import tensorflow as tf
from tensorflow.python.ops import script_ops

from pipelines.commands import command
from pipelines.reader import Reader
from pipelines.sources import open_source

EXAMPLES = """examples:
  python -m pipelines.service dispatcher --port 5050
  python -m pipelines.service worker --dispatcher trainer:5050 voc --root VOCdevkit
then, in the trainer: episodes("pascal5i", "VOCdevkit", service="localhost:5050")
or: python -m sst_tf.train CONFIG.yaml --train.service localhost:5050
"""
HEARTBEAT_MS = 1_000
LOST_MS = 10_000  # of a worker

_offered = {}  # TensorFlow keeps weak references to functions


def dispatcher(port=0, work_dir=None):
    """A started `DispatchServer`; it tells the workers who reads what.

    Args:
        port: 0 takes a free one.
        work_dir: a folder that outlives the process, from which a dispatcher started anew on the
            same port goes on.
    """
    return tf.data.experimental.service.DispatchServer(
        tf.data.experimental.service.DispatcherConfig(
            port=port, work_dir=work_dir, fault_tolerant_mode=work_dir is not None,
            job_gc_check_interval_ms=HEARTBEAT_MS, worker_timeout_ms=LOST_MS))


def worker(source, address, host="localhost", port=0):
    """A started `WorkerServer` that reads photos of `source`.

    Args:
        address: "host:port" of the dispatcher.
        host: by which trainers reach this machine.
        port: 0 takes a free one.
    """
    offer(source)
    return tf.data.experimental.service.WorkerServer(
        tf.data.experimental.service.WorkerConfig(
            dispatcher_address=address, worker_address=f"{host}:%port%", port=port,
            heartbeat_interval_ms=HEARTBEAT_MS))


def offer(source):
    """Let graphs that come from elsewhere call the readers of `source` in this process."""
    functions = Reader(source).functions()
    _offered.update(functions)
    # TensorFlow names its NumPy functions by a counter of the process; the op takes any name, but
    # registering under one has no public function.
    script_ops._py_funcs._funcs.update(functions)


def parser():
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.service", description=__doc__.splitlines()[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    first = kinds.add_parser("dispatcher", help="one: tells the workers who reads what")
    first.add_argument("--port", type=int, default=5050, help="0 takes a free one (default: 5050)")
    first.add_argument("--work_dir", help="folder from which a new dispatcher goes on")
    second = kinds.add_parser("worker", help="any number: reads, decodes, augments")
    second.add_argument("--dispatcher", required=True, metavar="HOST:PORT")
    second.add_argument("--host", default="localhost",
                        help="by which trainers reach this machine (default: localhost)")
    second.add_argument("--port", type=int, default=0, help="default: a free one")
    second.add_argument("dataset", choices=["voc", "coco", "folder"])
    second.add_argument("--root", help="the data set's folder on this machine")
    second.add_argument("--classes", help="voc: file of class names")
    second.add_argument("--annotations", help="coco: a COCO-JSON file of one's own classes")
    return parser


@command
def main(argv=None):
    options = parser().parse_args(argv)
    if options.kind == "dispatcher":
        server = dispatcher(options.port, options.work_dir)
        print(f"dispatcher at {server.target.removeprefix('grpc://')}", flush=True)
    else:
        own = {key: getattr(options, key) for key in ("classes", "annotations")
               if getattr(options, key)}
        source = open_source(options.dataset, options.root, **own)
        server = worker(source, options.dispatcher, options.host, options.port)
        print(f"worker reads {options.dataset} for {options.dispatcher}", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
