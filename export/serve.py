# SPDX-License-Identifier: Apache-2.0
"""`sst serve`: a stand-in for TensorFlow Serving, for development and tests.

The same gRPC and REST calls over the same C runtime, on one machine, without metrics or encryption;
in production use TensorFlow Serving itself (export/serving). New versions in the model's folder are
loaded, warmed up and swapped in while requests run.
"""

import asyncio
import importlib
import signal
import socket
import threading

from jsonargparse.typing import PositiveInt

from export.ports import Port
from export.standin import grpc_api
from export.standin import repository as repositories
from export.standin.batching import Batcher
from export.standin.batching_config import Parameters, read_parameters
from export.standin.errors import RequestError
from export.standin.memory import share_one_arena
from export.standin.models_config import ModelConfig, read_config
from pipelines.commands import command
from pipelines.errors import UserError
from sst_tf.config import ArgumentParser

NAME = "sst"
GRACE = 30  # seconds for requests that run when the server is told to stop


async def serve(repository: repositories.Repository, host: str, rest_port: int, grpc_port: int,
                poll_seconds: float, rest_seconds: float) -> None:
    """Serve until interrupted. Prints a line with both ports once requests are answered."""
    import uvicorn

    from export.standin.http_limits import IDLE_SECONDS, LimitedProtocol
    from export.standin.rest_api import application
    with socket.socket() as rest:
        rest.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            rest.bind((host, rest_port))
            grpc, grpc_port = await grpc_api.start(repository, host, grpc_port)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{host}: ports {rest_port} and {grpc_port}: {error}") from None
        repository.watch(poll_seconds)
        print(f"stand-in server (not for production): REST {host}:{rest.getsockname()[1]} "
              f"gRPC {host}:{grpc_port}", flush=True)
        http = uvicorn.Server(uvicorn.Config(
            application(repository, rest_seconds), log_level="warning", http=LimitedProtocol,
            ws="none", timeout_keep_alive=2 * int(IDLE_SECONDS), timeout_graceful_shutdown=GRACE))
        # A loop of its own: reading JSON by megabytes does not keep gRPC waiting.
        thread = threading.Thread(target=http.run, args=[[rest]])
        thread.start()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
        http.should_exit = True  # requests that run are answered first
        repository.stop()
        await grpc.stop(GRACE)
        thread.join()


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst serve", description=__doc__)
    parser.add_argument("--model_base_path", help="folder of numbered versions")
    parser.add_argument("--model_name", help=f"name in requests (default: {NAME})")
    parser.add_argument("--model_config_file", help="models.config, in place of the two above")
    parser.add_argument("--allow_version_labels_for_unavailable_models", action="store_true",
                        help="a label may name a version that is not loaded yet")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--rest_api_port", type=Port, default=8501, help="0 takes a free one")
    parser.add_argument("--rest_api_timeout_in_ms", type=PositiveInt, default=30000,
                        help="for the model's work on a request; gRPC's comes with each call")
    parser.add_argument("--port", type=Port, default=8500, help="of gRPC; 0 takes a free one")
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1.0,
                        help="how often new versions are looked for; 0: at the start alone")
    parser.add_argument("--enable_batching", action="store_true",
                        help="answer requests of one signature together")
    parser.add_argument("--batching_parameters_file",
                        help="batching.config; needs the option above")
    options = parser.parse_args(argv)
    if (options.model_base_path is None) == (options.model_config_file is None):
        raise UserError("give either --model_base_path or --model_config_file")
    if options.model_config_file and options.model_name is not None:
        raise UserError("--model_name: goes with --model_base_path; a models.config names its "
                        "models itself")
    if options.batching_parameters_file and not options.enable_batching:
        raise UserError("--batching_parameters_file needs --enable_batching")
    models = (read_config(options.model_config_file) if options.model_config_file else
              {options.model_name or NAME: ModelConfig(options.model_base_path)})
    for name in ("starlette", "uvicorn"):  # known to be there before a model is loaded
        importlib.import_module(name)
    share_one_arena()
    batcher = Batcher(_parameters(options)) if options.enable_batching else None
    repository = repositories.Repository(
        models, lambda line: print(line, flush=True), batcher,
        options.allow_version_labels_for_unavailable_models)
    repository.refresh()
    for name, model in models.items():
        try:
            states = repository.status(name)
        except RequestError:
            wanted = f"version {model.specific[0]}" if model.specific else "numbered version"
            raise UserError(f"{model.base_path}: no {wanted} in it; write one with "
                            "sst export-saved-model") from None
        version, state = states[0]
        if all(one.code for _, one in states):  # TensorFlow Serving ends, too
            raise UserError(f"{model.base_path}: version {version} cannot be loaded: "
                            f"{state.reason}; export it again")
    try:
        repository.label()
    except RequestError as error:
        raise UserError(f"{options.model_config_file}: {error}; or start with "
                        "--allow_version_labels_for_unavailable_models") from None
    asyncio.run(serve(repository, options.host, options.rest_api_port, options.port,
                      options.file_system_poll_wait_seconds,
                      options.rest_api_timeout_in_ms / 1000))


def _parameters(options):
    file = options.batching_parameters_file
    return read_parameters(file) if file else Parameters()


if __name__ == "__main__":
    main()
