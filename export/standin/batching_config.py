# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's batching parameters file."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from pipelines.errors import UserError

NUMBERS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


@dataclass(frozen=True)
class Parameters:
    """How requests are joined; the server's defaults.

    Attributes:
        max_batch_size: rows of a batch, and of a request.
        batch_timeout_micros: how long the first request of a batch waits for others.
        max_enqueued_batches: of one queue; further requests are refused.
        num_batch_threads: batches that run at once.
        allowed_batch_sizes: a batch is padded to the next of them; any size if there are none.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()


def read_parameters(path: str | Path) -> Parameters:
    """`Parameters` of a file in protobuf's text format.

    Raises:
        UserError: what the server would not start with, either.
    """
    message = _message()()
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise UserError(f"{path}: no batching parameters: {error}") from None
    given = {name: getattr(message, name).value for name in NUMBERS if message.HasField(name)}
    found = Parameters(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))
    sizes = found.allowed_batch_sizes
    for name in NUMBERS:
        least = 0 if name == "batch_timeout_micros" else 1
        if getattr(found, name) < least:
            raise UserError(f"{path}: {name}: expected at least {least}")
    if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes))
                  or sizes[-1] != found.max_batch_size):
        raise UserError(f"{path}: allowed_batch_sizes: expected increasing numbers, the last equal "
                        f"to max_batch_size ({found.max_batch_size})")
    if message.pad_variable_length_inputs:
        raise UserError(f"{path}: pad_variable_length_inputs: padding would change photos; set it "
                        "to false")
    return found


def _message():
    """tensorflow.serving.BatchingParameters; no Python package brings it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="export/batching_parameters.proto", package="export.standin", syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name])
    message = file.message_type.add(name="BatchingParameters")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate((*NUMBERS, "thread_pool_name"), start=1):
        wrapper = "Int64Value" if name in NUMBERS else "StringValue"
        message.field.add(name=name, number=number, type=kinds.TYPE_MESSAGE,
                          label=kinds.LABEL_OPTIONAL, type_name=f".google.protobuf.{wrapper}")
    message.field.add(name="allowed_batch_sizes", number=6, type=kinds.TYPE_INT64,
                      label=kinds.LABEL_REPEATED)
    message.field.add(name="pad_variable_length_inputs", number=7, type=kinds.TYPE_BOOL,
                      label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("export.standin.BatchingParameters"))
