import sys
from pathlib import Path

import pytest
import torch
from experiments.pretraining.task import Pretraining
from tests.experiments.pretraining.conftest import OBJECTIVES, objective

from experiments.pretraining import objectives
from modelrank.hub.encoders import ResNet8
from modelrank.types import ModelRankError

BATCH = 64


@pytest.fixture(params=OBJECTIVES)
def task(request, digits):
    """One objective on 64 images: every step sees all of them."""
    torch.manual_seed(0)
    encoder = ResNet8(width=8)
    images = torch.stack([torch.from_numpy(digits.splits["train"].images[i]) for i in range(BATCH)])
    return Pretraining(
        encoder,
        objective(request.param)(encoder=encoder, dimension=32, classes=10),
        images.permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(digits.splits["train"].targets[:BATCH]),
        mean=[0.5] * 3,
        std=[0.25] * 3,
        steps=100,
        batch_size=BATCH,
        learning_rate=3e-3,
        weight_decay=0.0,
        bfloat16=False,
        seed=0,
    )


def loss_of(task, step):
    images = task.images[task.rows(step)].float() / 255
    generator = torch.Generator().manual_seed(step)
    views = [task.objective.augmentation(images, generator) for _ in range(task.objective.views)]
    return task.objective.loss(task.encoder, views, task.labels[task.rows(step)], task.embed)


def test_the_loss_of_an_objective_falls_with_training(task):
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(40):
        loss = loss_of(task, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.objective.after_step(task.encoder)
        losses.append(loss.item())
    assert torch.tensor(losses).isfinite().all()
    # MoCo's queue begins with random vectors, which are easy to tell apart: compare once it is full of images.
    assert sum(losses[-5:]) < sum(losses[4:9]), losses


def test_only_the_trained_encoder_gets_a_gradient(task):
    loss_of(task, 0).backward()
    assert all(parameter.grad is not None for parameter in task.encoder.parameters())
    targets = [p for name, p in task.objective.named_parameters() if name.startswith("target")]
    assert all(p.grad is None and not p.requires_grad for p in targets)


def test_a_momentum_target_follows_slowly(digits):
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 4, bias=False))
    byol = objective("byol")(encoder=encoder, dimension=4, classes=2)
    before = byol.target_encoder[1].weight.clone()
    with torch.no_grad():
        encoder[1].weight += 1.0
    byol.after_step(encoder)
    torch.testing.assert_close(byol.target_encoder[1].weight - before, torch.full((4, 3), 1 - byol.momentum))


def test_rotation_is_told_from_the_pixels():
    """A network that reads where the bright corner is solves the task exactly: labels and turns belong together."""
    images = torch.zeros(8, 3, 4, 4)
    images[:, :, 0, 0] = 1.0  # turned by 0, 90, 180, 270 degrees: top left, bottom left, bottom right, top right
    corners = torch.nn.Linear(4, 4, bias=False)
    corners.weight.data = 50 * torch.eye(4)
    rotation = objective("rotation")(encoder=None, dimension=4, classes=2)
    rotation.head = corners

    def embed(_, view):
        return torch.stack([view[:, 0, 0, 0], view[:, 0, 3, 0], view[:, 0, 3, 3], view[:, 0, 0, 3]], 1)

    assert rotation.loss(None, [images], torch.zeros(8), embed) < 1e-6


def test_a_queue_travels_in_the_state():
    """lightly leaves it out: without it a resumed MoCo would begin with random negatives again."""
    moco = objective("moco")(encoder=torch.nn.Linear(2, 2), dimension=2, classes=2)
    assert {"contrast.memory_bank.bank", "contrast.memory_bank.bank_ptr"} <= set(moco.state_dict())


def test_without_lightly_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    with pytest.raises(ModelRankError, match=r"pip install 'modelrank\[pretrain\]'"):
        objective("simclr")(encoder=torch.nn.Linear(2, 2), dimension=2, classes=2)
    objective("supervised")(encoder=torch.nn.Linear(2, 2), dimension=2, classes=2)


def test_lightly_is_imported_only_when_an_objective_needs_it():
    source = Path(objectives.__file__).read_text().splitlines()
    assert not [line for line in source if line.startswith(("import", "from")) and "lightly" in line]
