# SPDX-License-Identifier: Apache-2.0
"""What a request is refused with."""

CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(1, 6)
RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 8, 9
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14


class RequestError(Exception):
    """What a client gets; `code` is gRPC's number, which is TensorFlow's, too."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
