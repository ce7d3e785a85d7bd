"""What is costly and shared: the demo's trained model."""

from pathlib import Path

import pytest

from tests.e2e.demos import trained


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory)
