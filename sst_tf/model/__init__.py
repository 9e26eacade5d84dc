# SPDX-License-Identifier: Apache-2.0
"""The method of the paper, equation by equation; knows neither data nor files."""
