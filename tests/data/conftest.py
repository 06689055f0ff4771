import pytest


@pytest.fixture
def packages(tmp_path):
    (tmp_path / "packages").mkdir()
    return tmp_path / "packages"
