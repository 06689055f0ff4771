"""Two processes (gloo) that are one training."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.truth.one_training import digits, scaled

from modelrank.data import module
from modelrank.data.images import TransformedImages
from modelrank.data.module import ImageDataModule, StepBatches
from modelrank.types import ModelRankError

SCRIPT = Path(__file__).with_name("one_training.py")


def trained(folder: Path, processes: int) -> list[dict]:
    """What each process found."""
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, str(processes)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one_does(tmp_path):
    (alone,) = trained(tmp_path / "one", 1)
    together = trained(tmp_path / "two", 2)
    assert together == [alone, alone]
    assert alone["agreed"] == "rank 0"
    one, two = (torch.load(tmp_path / name / "last.ckpt")["network"] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


@pytest.fixture
def as_rank(monkeypatch):
    return lambda rank, ranks: monkeypatch.setattr(module, "place", lambda: (rank, ranks))


def test_no_image_is_seen_twice(as_rank):
    seen = []
    for rank in range(3):
        as_rank(rank, 3)
        seen += [i for _, _, index in ImageDataModule(digits(), scaled, scaled).test_dataloader() for i in index]
    assert sorted(int(i) for i in seen) == list(range(41))


def test_ranks_share_the_images_of_a_step(as_rank):
    images = TransformedImages([digits().splits["train"]], scaled)
    batches = StepBatches(images, 32, 0, lambda items: [index for _, _, index in items])
    whole = batches[4]
    as_rank(0, 2)
    first = batches[4]
    as_rank(1, 2)
    assert (first, batches[4]) == (whole[::2], whole[1::2])
    as_rank(1, 3)
    with pytest.raises(ModelRankError, match=r"32 images a step cannot be shared equally by 3 processes"):
        batches[4]


def test_ranks_draw_crops_of_their_own(as_rank):
    images = TransformedImages([digits().splits["train"]], lambda image: torch.rand(1))
    batches = StepBatches(images, 8, 0, lambda items: [float(drawn) for drawn, _, _ in items])
    whole = batches[4]
    assert len(set(whole)) == 8
    as_rank(0, 2)
    first = batches[4]
    as_rank(1, 2)
    assert len({*first, *batches[4]}) == 8
