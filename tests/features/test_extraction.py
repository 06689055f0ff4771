"""What happens when an extraction is disturbed: stopped, killed, done twice at once."""

import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.features.making import images, run
from torch.utils.data import DataLoader

from modelrank.data.images import ImageSplit
from modelrank.features import extraction
from modelrank.features.store import FeatureStore
from modelrank.types import ModelRankError


def test_a_stop_before_the_first_batch_is_a_stop(tmp_path, monkeypatch):
    def stopped(loader):
        raise KeyboardInterrupt

    monkeypatch.setattr(DataLoader, "__iter__", stopped)
    with pytest.raises((KeyboardInterrupt, SystemExit)):  # Lightning makes the second of the first
        run(tmp_path)


def test_interrupted_by_an_error_then_resumed(tmp_path, monkeypatch):
    """Each image is seen once, although the run broke off in between."""
    monkeypatch.setattr(extraction, "PART_SECONDS", 0.0)
    seen: list[int] = []

    class Flaky(ImageSplit):
        def __getitem__(self, index):
            seen.append(index)
            if len(seen) == 20:
                raise ModelRankError("cannot read the image 19.png")
            return super().__getitem__(index)

    plain = images((43, 1, 1))
    split = plain.splits["train"]
    flaky = replace(plain, splits={"train": Flaky(split.images, split.targets, split.ids)})
    with pytest.raises(ModelRankError, match=r"19\.png"):
        run(tmp_path, data=flaky, scored=["train"])
    resumed = run(tmp_path, data=flaky, scored=["train"])
    assert seen == [*range(20), *range(16, 43)]  # batches of 8: two were kept
    assert torch.equal(resumed.features, run(tmp_path / "other", data=plain, scored=["train"]).features)
    assert not list(tmp_path.glob("*.parts"))


def test_control_c_keeps_what_is_done(tmp_path, monkeypatch):
    original = extraction.FeatureExtraction.predict_step

    def interrupted(self, batch, batch_idx):
        if batch_idx == 3:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(extraction.FeatureExtraction, "predict_step", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(tmp_path)
    (part,) = tmp_path.glob("*.parts/*.safetensors")
    (entry,) = FeatureStore(tmp_path).parts(part.parent.stem)
    assert entry.tensors["index"].tolist() == [*range(24)]
    assert torch.equal(run(tmp_path).features, run(tmp_path / "other").features)


@pytest.mark.parametrize("stops", [False, True])
def test_float32_means_float32_and_what_the_user_has_set_comes_back(tmp_path, monkeypatch, stops):
    kinds = [torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    original, within = extraction.FeatureExtraction.predict_step, []

    def watched(self, batch, batch_idx):
        within.extend(kind.fp32_precision for kind in kinds)
        if stops:
            raise ModelRankError("enough")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(extraction.FeatureExtraction, "predict_step", watched)
    default = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        before = [kind.fp32_precision for kind in kinds]
        with pytest.raises(ModelRankError, match="enough") if stops else nullcontext():
            run(tmp_path)
        after = [kind.fp32_precision for kind in kinds]
    finally:
        torch.set_float32_matmul_precision(default)
    assert set(within) == {"ieee"}
    assert after == before == ["tf32", "tf32", "bf16"], "the first by torch's default"


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from modelrank.features import extraction
import tests.features.making as case

extraction.PART_SECONDS = 0.0
original = extraction.FeatureExtraction.predict_step
def slow(self, batch, batch_idx):
    print("batch", int(batch[-1][0]), flush=True)
    time.sleep(float(sys.argv[3]))
    return original(self, batch, batch_idx)
extraction.FeatureExtraction.predict_step = slow
print("ready", flush=True)
sys.stdin.readline()
found = case.run(Path(sys.argv[1]))
print("sum", found.features.double().sum().item(), flush=True)
"""


def start(root: Path, seconds: float) -> subprocess.Popen:
    """A process that has imported everything and waits for a line before it extracts."""
    script = [sys.executable, "-c", SLOW, str(root), str(Path(__file__).parents[2]), str(seconds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(script, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def test_kill_9_then_resume(tmp_path, monkeypatch):
    process = start(tmp_path, 0.5)
    process.stdin.write("\n")
    process.stdin.flush()
    for line in process.stdout:
        if line == "batch 24\n":
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.glob("*.parts/*.safetensors"))) == 3
    assert not list(tmp_path.glob("*.safetensors"))
    seen: list[int] = []
    original = extraction.FeatureExtraction.predict_step
    monkeypatch.setattr(
        extraction.FeatureExtraction,
        "predict_step",
        lambda self, batch, i: seen.extend(batch[-1].tolist()) or original(self, batch, i),
    )
    resumed = run(tmp_path)
    assert seen == [*range(24, 43)]
    whole = run(tmp_path / "other")
    assert torch.equal(resumed.features, whole.features)
    assert torch.equal(resumed.logits, whole.logits)
    assert not list(tmp_path.glob("*.parts"))
    assert not list(tmp_path.glob("*.tmp"))


def test_two_processes_at_once(tmp_path):
    processes = [start(tmp_path, 0.3), start(tmp_path, 0.3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n", "ready\n"]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120)[0].split("\n") for process in processes]
    worked = sorted(sum(line.startswith("batch") for line in lines) for lines in outputs)
    assert worked == [0, 6]  # one did all 6 batches, the other none
    assert len({line for lines in outputs for line in lines if line.startswith("sum")}) == 1
