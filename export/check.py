# SPDX-License-Identifier: Apache-2.0
"""`sst check`: does a served version keep every promise of its export?

Loads it in a server of its own process (the stand-in over TensorFlow's C runtime and, where it is
installed, tensorflow_model_server), sends photos of the run to every signature, compares with the
Keras model and sends requests that must be refused. Ends with status 1 at the first broken promise.
"""

import sys

from jsonargparse.typing import PositiveInt

from export import server_process
from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.presets.options import add_model_options, run_folder


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst check", description=__doc__)
    parser.add_argument("--model", required=True, help="a version's folder, such as models/sst/1")
    add_model_options(parser)
    parser.add_argument("--onnx", help="a version's folder of ONNX files, checked too")
    parser.add_argument("--episodes", type=PositiveInt, default=3,
                        help="episodes of the run's photos")
    options = parser.parse_args(argv)
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from export.promises import Broken, Case, rows

    case = Case(options.model, run_folder(options), options.episodes, options.onnx)
    print(f"{options.model}: {case.facts['backbone']}, {case.facts['shots']}-shot, encoder in "
          f"{case.facts['encoder']}; {len(case.episodes)} episodes of {case.source.name}")
    try:
        for where, check, result in rows(case):
            promise = " ".join((check.__doc__ or "").split())
            print(f"ok  {where:12} {promise:88} {result}", flush=True)
    except Broken as error:
        print(f"BROKEN  {error}", flush=True)
        sys.exit(1)
    if server_process.real_server() is None:
        print(f"{server_process.REAL} is not installed: nothing was tried in it")


if __name__ == "__main__":
    main()
