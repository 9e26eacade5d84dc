# SPDX-License-Identifier: Apache-2.0
"""The same work done by this package and by others, measured in turn."""
