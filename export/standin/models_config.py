# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's models.config: which models, which versions, which labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from export.standin import protos
from export.standin.errors import INVALID_ARGUMENT, RequestError
from pipelines.errors import UserError

PLATFORM = "tensorflow"


@dataclass
class ModelConfig:
    """One model to serve.

    Attributes:
        base_path: folder of numbered versions.
        latest: how many of the highest versions stay loaded; 0 for all.
        specific: version numbers to load, in place of the latest.
        labels: {label: version}.
    """

    base_path: str
    latest: int = 1
    specific: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def read_config(path: str | Path) -> dict[str, ModelConfig]:
    """{name: `ModelConfig`} of a models.config file.

    Raises:
        UserError: what the server would not start with, either.
    """
    message = protos.serving().model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
        return models_of(message)
    except (OSError, UnicodeDecodeError, text_format.ParseError, RequestError) as error:
        raise UserError(f"{path}: no models.config: {error}") from None


def models_of(message: Any) -> dict[str, ModelConfig]:
    """{name: `ModelConfig`} of a `ModelServerConfig`.

    Raises:
        RequestError: with the server's reason.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise RequestError(INVALID_ARGUMENT, "ServerModelConfig type not supported by "
                           "HandleReloadConfigRequest. Only ModelConfigList is currently supported")
    found: dict[str, ModelConfig] = {}
    for one in message.model_config_list.config:
        if one.name in found:
            raise RequestError(INVALID_ARGUMENT, f"Illegal to list model {one.name} multiple times "
                                                 "in config list")
        if not one.model_platform:
            raise RequestError(INVALID_ARGUMENT, "Illegal setting neither ModelServerConfig::"
                               "model_type (deprecated) nor ModelServerConfig::model_platform.")
        if one.model_platform != PLATFORM:
            raise RequestError(INVALID_ARGUMENT, f"Model {one.name} requests unsupported platform "
                                                 f"{one.model_platform}")
        policy = one.model_version_policy
        found[one.name] = ModelConfig(
            one.base_path, 0 if policy.HasField("all") else max(1, policy.latest.num_versions),
            list(policy.specific.versions), dict(one.version_labels))
    return found
