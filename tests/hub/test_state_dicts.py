"""Which part of a weight file is the network, and that nothing else of the file is run or believed."""

import argparse
import logging
import os
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from modelrank.hub.state_dicts import read_checkpoint
from modelrank.types import ModelRankError

RAW = {"a": torch.zeros(2), "b": torch.zeros(1)}
EMA = {"a": torch.ones(2), "b": torch.ones(1)}


def read(path, content, key=""):
    torch.save(content, path)
    return read_checkpoint(path, key)


@pytest.mark.parametrize("content", [
    RAW,
    {"state_dict": RAW, "optimizer": {"state": {}, "param_groups": []}, "epoch": 3},
    {"epoch": 3, "model_state_dict": RAW, "optimizer_state_dict": {"state": {0: {"m": torch.zeros(1)}}}, "loss": 0.3},
    {"net": RAW, "epoch": 3},
    {"loss": torch.tensor(0.3), "weights of the network": RAW},
    {**RAW, "epoch": 3, "best": None, "name": "x"},
    {**RAW, "extra": {"c": torch.zeros(1)}},
])  # fmt: skip
def test_the_only_network_of_a_file_is_found(tmp_path, content):
    assert set(read(tmp_path / "a.pth", content)) == {"a", "b"}


@pytest.mark.parametrize(("raw", "ema"), [("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_the_average_is_taken_before_the_raw_weights_as_timm_does(tmp_path, raw, ema, caplog):
    with caplog.at_level(logging.INFO):
        assert read(tmp_path / "a.pth", {raw: RAW, ema: EMA})["a"].tolist() == [1, 1]
    assert f"the weights are those of '{ema}'; it also holds {raw} (hub.key=NAME)" in caplog.text
    assert read(tmp_path / "a.pth", {raw: RAW, ema: EMA}, key=raw)["a"].tolist() == [0, 0]
    assert read(tmp_path / "a.pth", {raw: RAW, ema: None})["a"].tolist() == [0, 0]


def test_one_of_several_must_be_named(tmp_path):
    with pytest.raises(ModelRankError, match=r"holds tensors under teacher, student; say which with hub\.key="):
        read(tmp_path / "a.pth", {"teacher": RAW, "student": EMA})
    assert read(tmp_path / "a.pth", {"teacher": RAW, "student": EMA}, key="student")["a"].tolist() == [1, 1]


def test_a_key_may_lead_deeper_and_may_itself_have_dots(tmp_path):
    content = {"states": {"net": {"inner": EMA}}, "v1.0": RAW}
    assert read(tmp_path / "a.pth", content, key="states.net.inner")["a"].tolist() == [1, 1]
    assert read(tmp_path / "a.pth", content, key="v1.0")["a"].tolist() == [0, 0]
    with pytest.raises(ModelRankError, match=r"there is no x; its keys are .*hub\.key=NAME"):
        read(tmp_path / "a.pth", content, key="states.x")
    with pytest.raises(ModelRankError, match=r"hub\.key=states holds no tensors; its keys are states, v1\.0"):
        read(tmp_path / "a.pth", content, key="states")


def test_module_versions_stay(tmp_path):
    state = torch.nn.BatchNorm2d(3).state_dict()
    assert read(tmp_path / "a.pth", {"state_dict": state})._metadata == state._metadata


@pytest.mark.parametrize("beside", [
    np.float64(0.9), np.float32(1), np.int64(3), np.bool_(True), np.str_("x"), np.arange(3.0),
    argparse.Namespace(lr=0.1), "text", None, [1, {"a": 2}],
])  # fmt: skip
def test_plain_values_may_stand_beside_the_weights(tmp_path, beside):
    assert set(read(tmp_path / "a.pth", {"state_dict": RAW, "best": beside})) == {"a", "b"}


def test_numbers_saved_by_an_older_numpy(tmp_path):
    torch.save({"state_dict": RAW, "best": np.float64(0.9)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert set(read_checkpoint(tmp_path / "old.pth")) == {"a", "b"}


class Command:
    """What runs a command when it is unpickled without care."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_run_and_nobody_advises_it(tmp_path, legacy):
    content = {"state_dict": RAW, "args": Command(tmp_path / "trace")}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelRankError) as refusal:
        read_checkpoint(tmp_path / "a.pth")
    assert "save its state dict alone" in str(refusal.value) or "mend or remove it" in str(refusal.value)
    assert ("posix.mkdir" in str(refusal.value)) != legacy
    assert refusal.value.__cause__ is None or legacy
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("content", [{"state": {}, "param_groups": []}, {}, [1, 2], 3, {"epoch": 3}])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    with pytest.raises(ModelRankError, match=r"holds no mapping of names to tensors.*hub\.key=NAME"):
        read(tmp_path / "a.pth", content)


def test_damaged_files_are_named(tmp_path):
    torch.save(RAW, tmp_path / "whole.pth")
    save_file(RAW, tmp_path / "whole.safetensors")
    for suffix in (".pth", ".safetensors"):
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        for number, content in enumerate((b"", b"\x80\x02 no tensors", whole[: len(whole) // 2], b"<html>404</html>")):
            path = tmp_path / f"bad{number}{suffix}"
            path.write_bytes(content)
            with pytest.raises(ModelRankError, match=rf"bad{number}{suffix} is damaged, or no file of tensors"):
                read_checkpoint(path)
