# SPDX-License-Identifier: Apache-2.0
"""Getting the field's data sets onto the disk: `sst prepare`."""
