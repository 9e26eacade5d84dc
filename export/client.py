# SPDX-License-Identifier: Apache-2.0
"""`sst client`: send photos to a model server, save masks and overlays, tell latency.

Works with TensorFlow Serving and with the stand-in (`sst serve`), over gRPC and REST. Photos go as
they lie on disk, JPEG or PNG of any size; a mask is a gray PNG of its photo's size, 0 and 255.
"""

import re
import statistics
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from jsonargparse.typing import PositiveInt

from export.ports import Port
from export.standin import protos, tensors
from pipelines.commands import command
from pipelines.errors import UserError
from pipelines.reading.photos import load_photo
from sst_tf.config import ArgumentParser

MAX_MESSAGE = 256 * 2**20
NOTHING = "nothing"  # code of what no REST server answered
UNREACHED = (NOTHING, "UNAVAILABLE")


class RequestFailed(UserError):
    """What a server refused.

    Attributes:
        code: HTTP status or gRPC code's name.
    """

    def __init__(self, code: int | str, message: object):
        # Which node of the graph it was, on a line of its own, tells a caller nothing.
        reason = re.sub(r"\s*\[\[\{\{.*?\}\}\]\]", "", str(message)).strip()
        super().__init__(f"the server answered {code}: {reason}")
        self.code = code


class GrpcClient:
    """Predict over gRPC.

    Args:
        address: "host:port".
        model, version: which; the server's choice of version for None.
        timeout: seconds a request.
    """

    def __init__(self, address: str, model: str = "sst", version: int | None = None,
                 timeout: float = 60.0):
        import grpc
        self._grpc, self._apis = grpc, protos.serving()
        self.model, self.version, self.timeout = model, version, timeout
        self._channel = grpc.insecure_channel(address, options=[
            ("grpc.enable_http_proxy", int(not _here(address))),
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE)])
        self._stub = self._apis.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{output: array} for {input: array}; object arrays hold bytes.

        Raises:
            RequestFailed: with the server's reason.
        """
        request = self._apis.predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tensors.to_proto(value))
        try:
            answer = self._stub.Predict(request, self.timeout)
        except self._grpc.RpcError as error:
            raise RequestFailed(error.code().name, error.details()) from None
        return {name: tensors.from_proto(value) for name, value in answer.outputs.items()}

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


class RestClient:
    """Predict over REST; arguments and `run` as `GrpcClient`'s."""

    def __init__(self, address: str, model: str = "sst", version: int | None = None,
                 timeout: float = 60.0):
        import requests
        self._requests, self._session = requests, requests.Session()
        self._session.trust_env = not _here(address)
        which = "" if version is None else f"/versions/{version}"
        self.url = f"http://{address}/v1/models/{model}{which}"
        self.timeout = timeout
        self._outputs: dict[str, dict[str, int]] | None = None

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{output: array} for {input: array}."""
        body = {"signature_name": signature, "inputs": {
            name: tensors.bytes_json(value) if np.asarray(value).dtype == object
            else np.asarray(value).tolist() for name, value in inputs.items()}}
        answer = self._ask("outputs", "POST", f"{self.url}:predict", json=body)
        types = self._types()[signature or "serving_default"]
        if not (isinstance(answer, dict) and set(answer) <= set(types)):
            answer = {next(iter(types)): answer}  # a signature of one output leaves its name out
        return {name: tensors.from_json(value, types[name]) for name, value in answer.items()}

    def _types(self):
        """{signature: {output: tensor type by number}}, asked for once."""
        if self._outputs is None:
            found = self._ask("metadata", "GET", f"{self.url}/metadata")["signature_def"]
            self._outputs = {
                name: {key: protos.types_pb2.DataType.Value(info["dtype"])
                       for key, info in one["outputs"].items()}
                for name, one in found["signature_def"].items()}
        return self._outputs

    def _ask(self, key, method, url, **arguments):
        """What an answer holds under a key."""
        try:
            answer = self._session.request(method, url, timeout=self.timeout, **arguments)
        except self._requests.RequestException as error:
            raise RequestFailed(NOTHING, error) from None
        try:
            content = answer.json()
        except ValueError:
            content = None
        if answer.ok and isinstance(content, dict) and key in content:
            return content[key]
        told = isinstance(content, dict) and "error" in content
        said = content["error"] if told else " ".join(answer.text.split())[:500]
        if answer.ok:
            said = f"no model server's answer from {url}: {said}"
        raise RequestFailed(answer.status_code, said)

    def close(self) -> None:
        """End the connection."""
        self._session.close()


def _here(address):
    """Whether a server is on this machine, where no proxy of the environment leads."""
    return address.rpartition(":")[0].strip("[]") in ("localhost", "127.0.0.1", "::1")


def segment(client: GrpcClient | RestClient, supports: list[tuple[str | Path, str | Path]],
            query: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The mask of a query at its own size, uint8 [H, W] of 0 and 255, and the supports' own IoU.

    Args:
        client: `GrpcClient` or `RestClient`.
        supports: (photo, mask) paths, as many as the model's shots.
        query: path of a photo.
    """
    def read(paths):
        return np.array([_read(path) for path in paths], object)

    photos, masks = (read(paths)[None] for paths in zip(*supports, strict=True))
    answer = client.run("segment_bytes", {"support_image": photos, "support_mask": masks,
                                          "query_image": read([query])})
    mask = cv2.imdecode(np.frombuffer(answer["mask_bytes"][0], np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise UserError(f"{query}: the server answered bytes that are no picture; an encoded mask "
                        "is expected")
    return mask, answer["support_iou"][0]


def save_answer(folder: str | Path, query: str | Path, mask: np.ndarray) -> Path:
    """Write NAME_mask.png and NAME_overlay.png of an upright photo; returns the overlay's path."""
    from sst_tf.reporting import drawing
    Path(folder).mkdir(parents=True, exist_ok=True)
    shown = drawing.overlay(load_photo(query), (mask > 0).astype(np.uint8), (0, 200, 0))
    for path, picture in zip(targets := _targets(folder, query), (mask, shown), strict=True):
        drawing.save(path, picture)
    return targets[1]


def _targets(folder, query):
    """Paths of a query's mask and overlay."""
    return [Path(folder) / f"{Path(query).stem}_{kind}.png" for kind in ("mask", "overlay")]


def _refuse_loss(folder, supports, queries):
    """UserError where an answer would overwrite what it was made of: mug_mask.png, perhaps."""
    given = {Path(path).resolve() for path in (*supports, *queries)}
    for path in (path for query in queries for path in _targets(folder, query)):
        if path.resolve() in given:
            raise UserError(f"--output {folder}: the answer {path} would overwrite a file that was "
                            "given; choose another folder")


def latency(seconds: list[float]) -> str:
    """One line of a list of seconds."""
    ordered = sorted(seconds)
    worst = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    return (f"{len(ordered)} request(s), median {1000 * statistics.median(ordered):.0f} ms, "
            f"90 % within {1000 * worst:.0f} ms")


def _no_server(error, address):
    """What nobody's answer means; None where a server answered."""
    return error.code in UNREACHED and (
        f"no {'REST' if error.code == NOTHING else 'gRPC'} server answers at {address}: start one "
        "(sst serve), wait until it says where it is, and give its --host and ports")


def _of_shots(error):
    """What TensorFlow means by a shape that the supports lack; None where it means another."""
    sides = re.search(r"support_\S* \[1,(\d+)\].* expected shape \[\?,(\d+)\]", str(error))
    return sides and (f"--support: {sides[1]} marked photos given, the model takes {sides[2]}; "
                      "export it with another --shots, or give as many")


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


@command
def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(prog="sst client", description=__doc__)
    parser.add_argument("--host", default="localhost", help="where the server is")
    parser.add_argument("--port", type=Port, default=8500, help="of gRPC")
    parser.add_argument("--rest_api_port", type=Port, default=8501)
    parser.add_argument("--model_name", default="sst")
    parser.add_argument("--protocol", default="grpc", choices=["grpc", "rest", "both"])
    parser.add_argument("--support", required=True, nargs="+", metavar="PHOTO=MASK",
                        help="marked photos, as many as the model's shots")
    parser.add_argument("--query", required=True, nargs="+", metavar="PHOTO")
    parser.add_argument("--output", default="answers", help="folder of masks and overlays")
    parser.add_argument("--repeats", type=PositiveInt, default=1,
                        help="requests a photo, for the latency")
    options = parser.parse_args(argv)
    supports = [pair.rpartition("=")[::2] for pair in options.support]
    if any(not photo or not mask for photo, mask in supports):
        raise UserError("--support: expected PHOTO=MASK, such as mug.jpg=mug_mask.png")
    _refuse_loss(options.output, [path for pair in supports for path in pair], options.query)
    twice = [name for name, count in Counter(
        Path(query).stem for query in options.query).items() if count > 1]
    if twice:
        raise UserError(f"--query: two photos are called {twice[0]}, their answers would have one "
                        "name; ask for them one after the other, with another --output")
    clients: dict[str, tuple[type[GrpcClient | RestClient], int]] = {
        "grpc": (GrpcClient, options.port),
        "rest": (RestClient, options.rest_api_port)}
    for protocol in clients if options.protocol == "both" else [options.protocol]:
        kind, port = clients[protocol]
        address, seconds = f"{options.host}:{port}", []
        client = kind(address, options.model_name)
        for query in options.query:
            for _ in range(options.repeats):
                start = time.perf_counter()
                try:
                    mask, iou = segment(client, supports, query)
                except RequestFailed as error:
                    raise UserError(_no_server(error, address) or _of_shots(error)
                                    or f"{query}: {error}") from None
                seconds.append(time.perf_counter() - start)
            path = save_answer(options.output, query, mask)
            print(f"{protocol}: {query}: {np.mean(mask > 0):.1%} foreground, {path}; supports' own "
                  f"IoU {', '.join(f'{one:.2f}' for one in iou)}")
        print(f"{protocol}: {latency(seconds)}")
        client.close()


if __name__ == "__main__":
    main()
