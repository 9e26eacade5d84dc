# SPDX-License-Identifier: Apache-2.0
import pytest

from pipelines import open_source
from tests.pipelines.tiny_voc import write_tiny_voc


@pytest.fixture
def tiny(tmp_path):
    """Root of a tiny VOC tree of this test's own, free to be damaged."""
    return write_tiny_voc(tmp_path / "tiny")


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory):
    """A source on a tiny VOC tree that nobody changes."""
    return open_source("voc", write_tiny_voc(tmp_path_factory.mktemp("voc") / "tiny"))
