# SPDX-License-Identifier: Apache-2.0
"""`sst export-onnx`: a trained run as ONNX files, the tuning step inside.

Writes segment.onnx (the whole episode), tune.onnx and segment_tuned.onnx (tune a class once, then
one pass a photo) and segment_many.onnx (one pass a photo for several classes) into a new version
folder, after onnxruntime has answered episodes that building did not see as the Keras model does.
An export that answers otherwise leaves no file.

With --encoder int8 the encoder counts in 8 bits: files of 40 % of the size, and faster where the
processor has instructions for it (VNNI). Photos of base classes say how wide its numbers are, so
the run's data set must be at hand. Files that lose more than 0.005 of mIoU on base classes are
refused.
"""

from jsonargparse.typing import PositiveInt

from export import versions
from export.encoders import add_int8_options
from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.presets.options import add_model_options, run_folder


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst export-onnx", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--output", required=True,
                        help="model folder; versions are numbered in it")
    parser.add_argument("--shots", type=PositiveInt, default=1, help="K, supports a query")
    parser.add_argument("--threshold", type=float,
                        help="0..1 instead of the one the run's evaluation chose on base classes")
    parser.add_argument("--fixed_size", action="store_true",
                        help="photos of the run's image_size only; a runtime may plan better")
    add_int8_options(parser)
    options = parser.parse_args(argv)
    if options.encoder != "int8" and options.trials != parser.get_default("trials"):
        raise UserError("--trials: goes with --encoder int8")
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from export.onnx_files import NAMES, export
    from export.onnx_graph import OPSET
    from export.trained import Trained

    trained = Trained.load(run_folder(options), options.shots, threshold=options.threshold,
                           data_root=options.data_root)
    trials = None
    if options.encoder == "int8":
        from export.int8 import Trials
        trials = Trials(trained, options.trials)
    folder, worst = export(trained, options.output, options.fixed_size, trials=trials)
    print(f"{folder}: {versions.megabytes(folder):.0f} MB in {', '.join(NAMES)}, {options.shots}-"
          f"shot, opset {OPSET}; largest difference from Keras {worst:.1e}"
          + (", before 8 bits" if trials else ""))


if __name__ == "__main__":
    main()
