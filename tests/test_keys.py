"""Two things that can differ have two keys: for single values, and for every leaf of conf/ that decides a result."""

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from experiments.pretraining.run import Recipe
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from modelrank import build
from modelrank.data.images import ImageData, ImageSplit
from modelrank.keys import key, plain, short
from modelrank.truth.ledger import protocol_id
from modelrank.types import ModelRankError

CONF = Path(__file__).parents[1] / "conf"


@dataclass(frozen=True)
class Strength:
    value: float = 1.0

    def __call__(self, image):  # a function to whoever asks only whether it can be called
        return image * self.value

    def method(self):
        return self.value

    @classmethod
    def made(cls):
        return cls()


class Opaque:
    def __init__(self, value):
        self.value = value


def function(x):
    return x


def test_equal_content_has_one_key_and_order_of_names_does_not_matter():
    assert key({"a": 1, "b": [2, 3]}) == key({"b": (2, 3), "a": 1}) == key(OmegaConf.create({"b": [2, 3], "a": 1}))
    assert key({"a": np.int64(1), "b": np.float64(0.5)}) == key({"a": 1, "b": 0.5})
    assert len(key(1)) == 64
    assert short(1) == key(1)[:12]


def scaled(features, scale: float | None = None, strengths: Sequence[float] = (), count: int | float = 1):
    return features


def test_a_whole_number_where_a_float_is_declared_is_that_float():
    assert key(Strength(100)) == key(Strength(100.0)) == key(Strength(np.int64(100)))
    assert key(partial(scaled, scale=100)) == key(partial(scaled, scale=100.0))
    assert key(partial(scaled, strengths=[1, 2])) == key(partial(scaled, strengths=(1.0, 2.0)))
    assert key(partial(Strength, value=1)) == key(partial(Strength, value=1.0))
    others = [partial(scaled, scale=scale) for scale in (None, 0, 1, True, "1", 1.5)]
    others += [partial(scaled, count=1), partial(scaled, count=1.0)]
    assert len({key(other) for other in others}) == len(others)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("scorer=disco", "scorers.disco.rms_norm", "100"),
        ("scorer=linear_probe", "scorers.linear_probe.strengths", "[1, 10]"),
        ("protocol=finetune_offline", "protocol.weight_decays", "[1]"),
        ("protocol=finetune_offline", "protocol.smallest_crop", "1"),
        ("protocol=finetune_offline", "protocol.racing.margin", "1"),
        ("protocol=detection_short", "protocol.head_learning_rate", "1"),
    ],
)
def test_a_setting_is_the_same_with_and_without_a_point(group, name, value):
    found = set()
    for given in (value, re.sub(r"(\d+)", r"\1.0", value)):
        cfg = composed(group, f"{name}={given}")
        found.add(protocol_id(instantiate(cfg.protocol)) if "protocol" in group else key(build.scorers(cfg)))
    assert len(found) == 1


@pytest.mark.parametrize(
    "contents",
    [
        [1, 1.5, True, None, "1", [1], {"1": 1}],
        [[1, 2], [2, 1]],
        [Strength(1.0), Strength(2.0), Strength],
        [function, partial(function), partial(function, 1), partial(function, x=1), partial(function, x="1")][1:],
        [Strength(1.0).method, Strength(2.0).method, Strength.made],
        [partial(function, x=Strength(1.0)), partial(function, x=Strength(2.0))],
        [partial(Strength(1.0)), partial(Strength(2.0)), partial(Strength(1.0).method), partial(Strength(2.0).method)],
        [math.sqrt, math.exp],
    ],
)
def test_different_content_has_different_keys(contents):
    assert len({key(content) for content in contents}) == len(contents)


@pytest.mark.parametrize(
    "content",
    [
        Opaque(1),
        lambda x: x,
        partial(function, x=Opaque(1)),
        float("nan"),
        b"bytes",
        {1, 2},
        {1: "a"},
        np.ones(2),
        [].append,
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_its_place(content):
    with pytest.raises(ModelRankError, match="no content key"):
        key({"place": [content]})


def test_the_message_says_where():
    with pytest.raises(ModelRankError, match=r"^settings\.deep\[1\]: "):
        plain({"settings": {"deep": [1, Opaque(2)]}})


# --- every leaf of conf/ ---


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def leaves(node, path=()):
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in items:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, name))
        elif name not in ("_partial_", "_convert_", "_recursive_"):
            yield (*path, name)


def changed(node, path):
    """A copy with another value at one place; of another callable where that is a `_target_`."""
    node = copy.deepcopy(node)
    parent = node
    for name in path[:-1]:
        parent = parent[name]
    old = parent[path[-1]]
    if path[-1] == "_target_":
        new = "builtins.dict"
    elif isinstance(old, bool):
        new = not old
    elif isinstance(old, int | float):
        new = old + 1
    elif isinstance(old, str):
        new = old[::-1] if old != old[::-1] else old + "x"
    else:
        new = 1 if old is None else [1]
    parent[path[-1]] = new
    return node


def keys_by_leaf(spec, key_of):
    """path -> whether the key changes with that leaf; leaves whose other value is refused are left out."""
    before, after = key_of(spec), {}
    for path in leaves(spec):
        if path == ("_target_",):
            continue  # another class altogether
        try:
            after[path] = key_of(changed(spec, path)) != before
        except (ModelRankError, InstantiationException, AttributeError, TypeError, ValueError):
            continue
    return after


def check(found, operational):
    silent = {path for path, differs in found.items() if not differs}
    wrong = {path for path in silent if not operational & set(path)}
    assert not wrong, f"these decide a result and are in no key: {wrong}"
    loud = {path for path, differs in found.items() if differs and operational & set(path)}
    assert not loud, f"these decide nothing, and the work would be done again: {loud}"
    assert any(found.values())


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "protocol").glob("*.yaml")))
def test_protocols(name):
    spec = OmegaConf.to_container(composed(f"protocol={name}").protocol, resolve=True)
    operational = {"name", "workers", "checkpoint_every"} | ({"batch_size"} if "linear" in name else set())
    found = keys_by_leaf(spec, lambda spec: protocol_id(instantiate(spec)))
    # of a probe inside: batches of its extraction, and the size, which is the protocol's own
    assert not any(found.pop(("probe", leaf), False) for leaf in ("batch_size", "image_size"))
    check(found, operational)


@pytest.mark.parametrize("name", ["finetune", "finetune_offline", "detection_short"])
def test_how_a_training_is_watched_is_no_part_of_its_protocol(name):
    protocol = instantiate(composed(f"protocol={name}").protocol)
    watched = replace(protocol, curve=(1.0,), checkpoint_every=1, workers=protocol.workers + 7)
    assert protocol_id(watched) == protocol_id(protocol)


LABELS = {"name", "family", "pretraining", "licence", "imagenet_accuracy"}
WHERE = {"registry", "version", "file"}  # of a package: sha256 says what the bytes are


@pytest.mark.parametrize("hub", ["offline", "self_supervised_offline"])
def test_models(hub):
    for spec in OmegaConf.to_container(composed(f"hub={hub}").models, resolve=True).values():
        found = keys_by_leaf(spec, lambda spec: key(instantiate(spec).identity()))
        found = {path: differs for path, differs in found.items() if path[-2:] != ("package", "package")}
        check(found, LABELS | WHERE)


@pytest.fixture(scope="module")
def images():
    labels = np.arange(400) % 10
    splits = {
        split: ImageSplit(np.zeros((400, 8, 8, 3), np.uint8), labels, [f"{split} {i}" for i in range(400)])
        for split in ("train", "val", "test")
    }
    return ImageData("blank", "classification", tuple("0123456789"), "accuracy", splits, "made", "none", "f" * 64)


@pytest.mark.parametrize("objective", sorted(path.stem for path in (CONF / "objective").glob("*.yaml")))
def test_pretraining(images, objective):
    cfg = composed("stage=pretrain", f"objective={objective}", "stage.name=x", "stage.output=x", "stage.snapshots=[3]")
    stage = OmegaConf.to_container(cfg.stage, resolve=True)
    spec = {name: value for name, value in stage.items() if name not in ("_target_", "_partial_", "output")}
    spec |= {"encoder": OmegaConf.to_container(cfg.encoder), "objective": OmegaConf.to_container(cfg.objective)}

    def key_of(spec):
        return Recipe(data=images, seed=0, **instantiate(spec, _convert_="all")).key()

    check(keys_by_leaf(spec, key_of), {"name", "every", "checkpoint_every"})
