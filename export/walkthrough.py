# SPDX-License-Identifier: Apache-2.0
"""`sst walkthrough`: export a run, serve it, ask by REST and gRPC, draw, stop."""

import time
from pathlib import Path

import cv2
from jsonargparse.typing import PositiveInt

from export import client, server_process
from pipelines import Episode, Source
from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser
from sst_tf.presets.options import add_model_options, run_folder


def write_photos(folder: Path, source: Source,
                 episode: Episode) -> tuple[list[tuple[Path, Path]], Path]:
    """(pairs of support and mask, query) of an episode as files that a user would have."""
    folder.mkdir(parents=True, exist_ok=True)

    def photo(name, kind):
        path = folder / f"{kind}.png"
        cv2.imwrite(str(path), source.read_image(name)[..., ::-1])
        return path

    supports = []
    for i, name in enumerate(episode.support):
        mask = folder / f"support{i}_mask.png"
        cv2.imwrite(str(mask), source.class_mask(name, episode.support_class_id))
        supports.append((photo(name, f"support{i}"), mask))
    return supports, photo(episode.query, "query")


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst walkthrough", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--output", default="serve-demo", help="folder for all that is made")
    parser.add_argument("--repeats", type=PositiveInt, default=10,
                        help="requests by each protocol")
    options = parser.parse_args(argv)
    # TensorFlow takes seconds to import, which --help and a mistyped option need not wait for.
    from export import saving
    from export.trained import Trained

    trained, output = Trained.load(run_folder(options)), Path(options.output)
    version, worst = saving.export(trained, output / "models")
    print(f"exported {version}; largest difference from Keras {worst:.1e}", flush=True)
    episodes, source = trained.episodes(1, seed=1)
    supports, query = write_photos(output / "photos", source, episodes[0])
    masks = []
    with server_process.serving(version.parent, kind=server_process.best()) as server:
        print(f"serving by {server.kind} at REST :{server.rest_port}, gRPC :{server.grpc_port}",
              flush=True)
        for kind, port in ((client.GrpcClient, server.grpc_port),
                           (client.RestClient, server.rest_port)):
            seconds, one = [], kind(f"{server.host}:{port}")
            for _ in range(options.repeats):
                mask, taken = _timed(client.segment, one, supports, query)
                seconds.append(taken)
            masks.append(mask[0])
            print(f"{kind.__name__}: {client.latency(seconds)}", flush=True)
    if (masks[0] != masks[1]).any():
        raise UserError("REST and gRPC gave different masks")
    print(f"look at {client.save_answer(output, query, masks[0])}; the server has stopped")


def _timed(function, *arguments):
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


if __name__ == "__main__":
    main()
