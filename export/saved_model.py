# SPDX-License-Identifier: Apache-2.0
"""`sst export-saved-model`: a trained run as a SavedModel that a server can load.

A new integer version appears under --output in one move, once its answers have been compared with
the Keras model's; a failed or killed export leaves no version.
"""

from jsonargparse.typing import PositiveInt

from export import versions
from export.encoders import ENCODERS
from pipelines.commands import command
from sst_tf.config import ArgumentParser
from sst_tf.presets.options import add_model_options, run_folder


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst export-saved-model", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--output", required=True,
                        help="model folder that a server watches; versions are numbered in it")
    parser.add_argument("--shots", type=PositiveInt, default=1, help="K, supports a query")
    parser.add_argument("--threshold", type=float,
                        help="0..1 instead of the one the run's evaluation chose on base classes")
    parser.add_argument("--fixed_size", action="store_true",
                        help="refuse photos of another size than the run's; the graph is faster "
                             "to compile and easier to convert (segment_bytes takes any size)")
    parser.add_argument("--encoder", default="float32", choices=list(ENCODERS),
                        help="type of the encoder; the tuning step stays in float32")
    parser.add_argument("--xla", action="store_true",
                        help="compile by XLA, when first called, all but checks and decoding")
    parser.add_argument("--no_warmup", action="store_true",
                        help="leave out the warm-up requests (they need the extra `serving`)")
    options = parser.parse_args(argv)
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from export.saving import export
    from export.trained import Trained

    if not options.no_warmup:
        from export.warmup import requests_api
        requests_api()  # what is not installed is told before the work
    trained = Trained.load(run_folder(options), options.shots, options.encoder, options.threshold)
    folder, worst = export(trained, options.output, options.fixed_size, options.xla,
                           options.encoder, not options.no_warmup)
    print(f"{folder}: {versions.megabytes(folder):.0f} MB, {options.shots}-shot, threshold "
          f"{trained.threshold / 100:.2f}; largest difference from Keras {worst:.1e}"
          + (f"; what {options.encoder} changes: assets/MODEL_CARD.md" if trained.wide else ""))


if __name__ == "__main__":
    main()
