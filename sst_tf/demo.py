# SPDX-License-Identifier: Apache-2.0
"""`python -m sst_tf.demo --run_dir RUN`: a local page. Paint a class in a photo, find it in others.

Each photo that is marked becomes a shot; the page shows the mask that was made of the strokes, the
gradient of the inner step over it, the query segmented with and without the step, and the times.
Uploads stay in a temporary folder that goes with the page; it listens on this machine alone unless
--host says otherwise.
"""

import os
import signal
import tempfile

from PIL import Image

from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.reading.photos import MAX_PIXELS
from sst_tf.config import ArgumentParser
from sst_tf.photos.paint_page import (
    Desk,
    gradio,
    page,
    samples,
)
from sst_tf.photos.predictor import Predictor


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m sst_tf.demo", description=__doc__)
    parser.add_argument("--run_dir", required=True, help="a trained run (sst_tf.train)")
    parser.add_argument("--photos", help="folder of photos to pick from; by default some of the "
                                         "run's novel classes")
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on; 0.0.0.0 lets the network in")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--max_megabytes", type=int, default=20, help="largest upload")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="sst-demo-") as folder:
        # Read when the library is imported.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False",
                       "HF_HUB_OFFLINE": "1"}
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the folder goes then, too
        gr = gradio()
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice as many
        predictor = Predictor.from_run(options.run_dir)
        examples = samples(predictor.config, folder, options.photos)
        blocks = page(Desk(predictor), examples, "Few-shot segmentation")
        fonts = ["system-ui", "sans-serif"]  # none is fetched from elsewhere
        try:
            blocks.launch(
                server_name=options.host, server_port=options.port, share=False, quiet=True,
                prevent_thread_lock=True, max_file_size=options.max_megabytes * 2**20,
                footer_links=[], run_history=False, show_error=True, state_session_capacity=32,
                theme=gr.themes.Default(font=fonts, font_mono=["monospace"]), ssr_mode=False)
        except OSError as error:
            raise UserError(f"--port {options.port}: {error}") from None
        print(f"listening on http://{options.host}:{options.port}, Ctrl-C ends it", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close()


if __name__ == "__main__":
    main()
