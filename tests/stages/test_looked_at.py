from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from modelrank.recommend.diary import Diary
from modelrank.recommend.probe import Probe
from modelrank.stages.looked_at import looked_at

COST = Probe(10, 1.0, 1.0, 0.1)


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Of three models after so many of 10 seconds; those that are broken cannot be loaded."""
    constraints = {"_target_": "modelrank.recommend.constraints.Constraints"}
    cfg = OmegaConf.create(
        {"trainer": {"accelerator": "cpu"}, "paths": {"cache": str(tmp_path)}, "constraints": constraints}
    )
    models = {name: SimpleNamespace(name=name, licence="MIT") for name in ("good", "bad", "other")}

    def call(spent, broken=()):
        def probe(model, **settings):
            if model.name in broken:
                raise RuntimeError(f"no weights of {model.name}")
            return COST

        monkeypatch.setattr("modelrank.stages.looked_at.probe", probe)
        diary = Diary(tmp_path)
        diary.spent = spent
        return looked_at(cfg, models, SimpleNamespace(image_size=32, batch_size=8), tmp_path, diary, 10.0)

    return call


def test_what_an_error_kept_out_is_not_said_to_be_left_for_lack_of_budget(look):
    first = look(0.0, broken=["bad"])
    assert (list(first.probes), first.out, first.unseen) == (["good", "other"], {"bad": "no weights of bad"}, [])
    assert look(100.0) == first, "no time to look again"
    assert list(look(0.0).probes) == ["good", "bad", "other"]
    assert list(look(100.0).probes) == ["good", "bad", "other"]


def test_without_time_the_first_alone_is_looked_at(look):
    assert look(100.0, broken=["good"]) == ({"bad": COST}, {"good": "no weights of good"}, ["other"])
