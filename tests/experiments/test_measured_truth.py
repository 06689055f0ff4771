"""The shipped accuracies are of the models, images and protocols that conf/ makes today."""

import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.truth.ledger import Asked, measured, model_id, protocol_id, rows

CONF = Path(__file__).parents[2] / "conf"
SHIPPED = [f"experiments/truth/{name}.csv" for name in ("measured", "quick")]


def test_shipped_rows_are_of_the_models_of_conf():
    shipped = rows(SHIPPED)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        known = {
            name: model_id(model)
            for hub in ("offline", "self_supervised_offline", "checkpoints_offline")
            for name, model in build.models(compose("config", [f"hub={hub}"])).items()
        }
    assert (shipped.model.map(known) == shipped.model_id).all()
    assert (shipped[["model_id", "data_id", "protocol_id"]].map(len) == 12).all(axis=None)
    assert shipped.commit.ne("").all()
    assert not shipped.command.str.contains(r"(?:^|[ =])/|hydra\.run\.dir=", regex=True).any(), "a path of one machine"
    names = shipped.groupby("data_id").dataset.nunique()
    assert names.eq(1).all()


LONGER = "finetune_offline_480"  # twice the steps at the rate that each model's race chose: in the row's command


def test_the_longer_trainings_are_what_their_commands_say():
    own = rows(SHIPPED).query("protocol == @LONGER")
    assert len(own) >= 16
    for row in own.itertuples():
        overrides = [word for word in shlex.split(row.command) if word.startswith("protocol")]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            assert protocol_id(build.protocol(compose("config", overrides))) == row.protocol_id


@pytest.mark.parametrize("protocol", sorted({*rows(SHIPPED).protocol} - {LONGER}))
def test_shipped_rows_are_by_the_protocols_of_conf(protocol):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        identity = protocol_id(build.protocol(compose("config", [f"protocol={protocol}"])))
    assert identity in set(rows(SHIPPED).query("protocol == @protocol").protocol_id)


@pytest.mark.registry
def test_shipped_rows_of_the_default_run_are_found(registry_cache):
    """Of these weights, these images and this protocol as conf/ makes them today: no name decides it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"paths.cache={registry_cache}", "paths.run=none"])
    models, data = build.models(cfg).values(), build.dataset(cfg).load(registry_cache)
    for protocol in ("finetune_offline", "linear_probe_offline"):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            asked = Asked.of(models, data, build.protocol(compose("config", [f"protocol={protocol}"])))
        found = measured(asked, paths=SHIPPED)
        own = rows(SHIPPED).query("protocol == @protocol and dataset == 'cifar10'")
        assert set(found.accuracy) == set(own.model)
        assert len(own) >= 5
        assert found.unmatched == ""
