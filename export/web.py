# SPDX-License-Identifier: Apache-2.0
"""`sst web`: a trained model as a page that needs no server and no Python.

Writes a folder of static files: the page, the model as ONNX files with the tuning step inside, and
onnxruntime-web, which npm fetches once. Any web server can hand it out; photos stay in the browser.
The files answer drawn pictures in onnxruntime as `Predictor` does before the folder gets its place.
"""

from pathlib import Path

from export import page_libraries, page_server, versions
from export.encoders import add_int8_options
from export.ports import Port
from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.presets.options import add_model_options, run_folder


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst web", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--output", required=True, help="folder for the page")
    parser.add_argument("--libraries", help="node_modules of the page's lock file, where npm "
                                            "cannot run")
    parser.add_argument("--open", action="store_true",
                        help="show it in the browser, from this machine alone")
    parser.add_argument("--port", type=Port, default=8010, help="of --open")
    add_int8_options(parser)
    options = parser.parse_args(argv)
    if options.data_root and options.encoder != "int8":
        raise UserError("--data_root: photos are needed for --encoder int8 alone")
    for key, needs, there in (("trials", "--encoder int8", options.encoder == "int8"),
                              ("port", "--open", options.open)):
        if not there and getattr(options, key) != parser.get_default(key):
            raise UserError(f"--{key}: goes with {needs}")
    if options.open and options.port:
        page_server.refuse_taken(options.port)
    modules = Path(options.libraries) if options.libraries else page_libraries.fetch()
    # TensorFlow takes seconds to import, which --help and a missing npm need not wait for.
    from export.page_files import write
    from sst_tf.photos.predictor import Predictor

    run = run_folder(options)
    predictor, trials = Predictor.from_run(run), None
    if options.encoder == "int8":
        from export.int8 import Trials
        from export.trained import Trained
        trials = Trials(Trained.load(run, threshold=predictor.threshold(1),
                                     data_root=options.data_root), options.trials)
    folder, worst = write(predictor, options.output, run.name, modules, trials)
    model = sum(path.stat().st_size for path in folder.glob("*.onnx")) / 1e6
    wide = ", before its encoder had 8 bits" if trials else ""
    print(f"{folder}: {versions.megabytes(folder):.0f} MB, {model:.1f} of them the model; largest "
          f"difference from Python {worst:.1e}{wide}")
    if options.open:
        page_server.show(folder, options.port)


if __name__ == "__main__":
    main()
