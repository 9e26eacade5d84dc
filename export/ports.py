# SPDX-License-Identifier: Apache-2.0
"""The type of a port on a command line."""

from jsonargparse.typing import restricted_number_type

Port = restricted_number_type("Port", int, [(">=", 0), ("<=", 65535)],
                              docstring="0 takes a free one, up to 65535.")
