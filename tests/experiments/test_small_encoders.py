"""The benchmarks of small encoders: truth by fine-tuning and by linear probe are there, apart, for every model."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.truth import ledger

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("experiment", ["table_self_supervised_offline", "table_checkpoints_offline"])
@pytest.mark.parametrize("protocol", ["finetune_small", "linear_probe_small"])
def test_every_model_has_an_accuracy_by_each_protocol(experiment, protocol, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"experiment={experiment}", f"protocol={protocol}", f"paths.cache={tmp_path}"]
        table = compose("config", overrides, return_hydra_config=True)
        for dataset in table.hydra.sweeper.params.dataset.split(","):
            cfg = compose("config", [*overrides, f"dataset={dataset}"])
            rows = ledger.rows(cfg.truth.paths).query("dataset == @dataset")
            rows = rows[rows.protocol_id == ledger.protocol_id(build.protocol(cfg))]
            truth = ledger.truth_of(rows)
            assert {ledger.model_id(model) for model in build.models(cfg).values()} <= set(rows.model_id), dataset
            if protocol == "finetune_small":
                assert set(truth.per_seed) == {0, 1}


def test_the_two_protocols_differ_in_size_from_those_of_the_other_hubs_only_where_they_say_so():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for small, base, own in (
            ("finetune_small", "finetune_short", {"steps", "learning_rates", "head_learning_rate"}),
            ("linear_probe_small", "linear_probe", {"strengths"}),
        ):
            ours, theirs = (dict(compose("config", [f"protocol={name}"]).protocol) for name in (small, base))
            changed = {key for key in ours if ours[key] != theirs[key]}
            assert ours["image_size"] == 32
            assert changed == {"name", "image_size"} | own
