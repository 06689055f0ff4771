from tests.small_problem import digits, model, protocol, trainer  # noqa: F401 fixtures
