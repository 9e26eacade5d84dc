# SPDX-License-Identifier: Apache-2.0
"""`sst remote`: reading on other processes or machines, by tf.data service."""

import argparse
import sys
import time

from pipelines.commands import command, parse
from pipelines.sources import open_source

EXAMPLES = """examples:
  sst remote dispatcher --port 5050
  sst remote worker --dispatcher trainer:5050 voc --root VOCdevkit
then, in the trainer: episodes("pascal5i", "VOCdevkit", service="localhost:5050")
or: sst train CONFIG.yaml --train.service localhost:5050
"""


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="sst remote", description=__doc__.partition(": ")[2], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    first = kinds.add_parser("dispatcher", help="one: tells the workers who reads what")
    first.add_argument("--port", type=_port, default=5050,
                       help="0 takes a free one (default: 5050)")
    first.add_argument("--work_dir", help="folder from which a new dispatcher goes on")
    second = kinds.add_parser("worker", help="any number: reads, decodes, augments")
    second.add_argument("--dispatcher", required=True, metavar="HOST:PORT")
    second.add_argument("--host", default="localhost",
                        help="by which trainers reach this machine (default: localhost)")
    second.add_argument("--port", type=_port, default=0, help="default: a free one")
    second.add_argument("dataset", choices=["voc", "coco", "folder"])
    second.add_argument("--root", required=True, help="the data set's folder on this machine")
    second.add_argument("--classes", help="voc: file of class names")
    second.add_argument("--annotations", help="coco: a COCO-JSON file of one's own classes")
    return parser


def _port(text):
    """TensorFlow takes any number, and listens at another port than an impossible one."""
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}: a port of 0 to 65535 is expected")
    return int(text)


@command
def main(argv: list[str] | None = None) -> None:
    options = parse(parser(), argv)
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from pipelines.remote.client import refuse_nobody
    from pipelines.remote.workers import dispatcher, worker

    if options.kind == "dispatcher":
        server = dispatcher(options.port, options.work_dir)
        print(f"dispatcher at {server.target.removeprefix('grpc://')}", flush=True)
    else:
        refuse_nobody(options.dispatcher, "--dispatcher")
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
