"""The small problem, and the steps that are trained on it."""

import pytest
from tests.small_problem import digits, model, protocol, trainer  # noqa: F401 fixtures

from modelrank.truth.tasks import TransferTask


@pytest.fixture
def steps(monkeypatch):
    """The steps that are trained; `steps.stop_at` raises in the step of that number since the last clear."""

    class Steps(list):
        stop_at = -1

    seen, plain = Steps(), TransferTask.training_step

    def step(self, batch, batch_index):
        seen.append(self.done + self.global_step)
        if len(seen) == seen.stop_at:
            raise RuntimeError("killed")
        return plain(self, batch, batch_index)

    monkeypatch.setattr(TransferTask, "training_step", step)
    return seen
