import pytest

import modelrank.build  # noqa: F401  it knows the words that configuration files use


@pytest.fixture
def packages(tmp_path):
    (tmp_path / "packages").mkdir()
    return tmp_path / "packages"
