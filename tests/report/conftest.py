import pytest
from tests.report.example import checked_page, example_report


@pytest.fixture
def check_page():
    return checked_page


@pytest.fixture
def make_report():
    return example_report


@pytest.fixture
def report():
    return example_report()
