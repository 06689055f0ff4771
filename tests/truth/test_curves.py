import pandas as pd

from modelrank.truth import curves

ROW = {"dataset": "x", "model": "a", "protocol": "p", "model_id": "012345678901", "data_id": "d", "protocol_id": "q"}


def training(until, values):
    curve = [[10 * (i + 1), 2.5 * (i + 1), value] for i, value in enumerate(values)]
    return {"lr": 1e-3, "wd": 0.0, "until": until, "failed": None, "seconds": 9.0, "batch": 32, "curve": curve}


def test_points_beside_tables_are_there_once_and_the_last_file_wins(tmp_path):
    shipped, own = tmp_path / "shipped" / "measured.csv", tmp_path / "own" / "measured.csv"
    for table, values in ((shipped, [0.1, 0.2]), (own, [0.1, 0.3])):
        curves.append(table, ROW | {"seed": 0}, [training(10, values[:1]), training(20, values)])
    curves.append(shipped, ROW | {"seed": 1}, [training(10, [0.5])])
    found = curves.beside([shipped, own, tmp_path / "none" / "measured.csv"])
    assert found.set_index(["seed", "step"]).value.to_dict() == {(0, 10): 0.1, (0, 20): 0.3, (1, 10): 0.5}
    assert found.images.tolist() == (32 * found.step).tolist()
    assert set(found.model_id) == {"012345678901"}, "an id of digits stays text"


def test_images_seen_are_unknown_where_an_earlier_table_does_not_say(tmp_path):
    bare = {key: value for key, value in training(10, [0.1]).items() if key != "batch"}
    curves.append(tmp_path / "measured.csv", ROW | {"seed": 0}, [bare])
    assert curves.beside([tmp_path / "measured.csv"]).images.isna().all()
    curves.append(tmp_path / "measured.csv", ROW | {"seed": 1}, [training(10, [0.5])])
    assert curves.beside([tmp_path / "measured.csv"]).set_index("seed").images.dropna().to_dict() == {1: 320}


def test_without_any_there_are_no_points(tmp_path):
    found = curves.beside([tmp_path / "measured.csv"])
    assert found.empty
    assert pd.DataFrame([ROW | {"seed": 0}]).merge(found, on=["model_id", "seed"]).empty
