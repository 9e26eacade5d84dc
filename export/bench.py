# SPDX-License-Identifier: Apache-2.0
"""`sst bench-serve`: what serving costs beside the work that it cannot avoid.

Exports a segmenter of random weights (their values change no time), runs its signatures through
the C runtime and onnxruntime in turn in this process, and compares each with its floor: the FLOPs
of its convolutions over the float32 matrix rate of the same process and hour. Then clients ask a
server by gRPC, without and with batching: latencies and requests a second.
"""

import os
import tempfile
from pathlib import Path

from jsonargparse.typing import PositiveInt

from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import BACKBONES, ArgumentParser

VARIANTS = ["xla", "bfloat16", "onnx"]
# Options of the table of signatures, which --load_only leaves out.
TABLE = {"rounds": 3, "batches": [1, 8], "classes": 8, "variants": VARIANTS}


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst bench-serve", description=__doc__)
    parser.add_argument("--backbone", default="resnet50", choices=BACKBONES)
    parser.add_argument("--image_size", type=PositiveInt, default=321, help="side in pixels")
    parser.add_argument("--rounds", type=PositiveInt,
                        help=f"best of so many (default: {TABLE['rounds']})")
    parser.add_argument("--batches", type=PositiveInt, nargs="+",
                        help=f"episodes a call (default: {TABLE['batches']})")
    parser.add_argument("--classes", type=PositiveInt,
                        help=f"looked for in one photo (default: {TABLE['classes']})")
    parser.add_argument("--requests", type=PositiveInt, default=100,
                        help="a row of the table of clients")
    parser.add_argument("--clients", type=PositiveInt, nargs="+", default=[1, 4, 16],
                        help="that ask a server at once")
    parser.add_argument("--load_only", action="store_true", help="the table of clients alone")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS,
                        help="beside plain float32 (default: all)")
    options = parser.parse_args(argv)
    for key, default in TABLE.items():
        if getattr(options, key) is None:
            setattr(options, key, default)
        elif options.load_only:
            raise UserError(f"--{key}: goes with the table of signatures, which --load_only "
                            "leaves out")
    if options.load_only:
        options.variants = []
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from export.serving_cost import measure

    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # float32 means float32
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
