import json
import os
import time

import pytest
from tests.recommend.worlds import TEN, World

from modelrank.recommend.diary import Diary


def test_time_of_a_killed_trial_is_counted(tmp_path):
    world = World(TEN)
    diary = Diary(tmp_path, world.clock)
    with diary.working():
        world.now = 100.0
    working = diary.working()
    working.__enter__()  # killed in it: never left
    since = json.loads((tmp_path / "race.json").read_text())["working_since"]
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"")
    os.utime(checkpoint, (since + 50, since + 50))
    lock = tmp_path / "lock"  # of the next run
    lock.touch()
    os.utime(lock, (since + 86400, since + 86400))
    assert Diary(tmp_path, world.clock).spent == pytest.approx(150, abs=0.1)


@pytest.mark.parametrize(
    "damage",
    [
        "",
        '{"trials": [',
        "[]",
        '{"trials": []}',
        '{"trials": [{"model": "a"}], "spent": 1.0, "working_since": null}',
        '{"trials": [], "spent": "1", "working_since": null}',
    ],
)
def test_a_cut_diary_is_made_again(tmp_path, caplog, damage):
    (tmp_path / "race.json").write_text(damage)
    assert Diary(tmp_path).trials == []
    assert "race.json is damaged" in caplog.text


def test_what_a_later_run_writes_is_no_time_of_a_killed_one(tmp_path):
    world = World(TEN)
    Diary(tmp_path, world.clock).working().__enter__()
    spent = Diary(tmp_path, world.clock).spent
    late = tmp_path / "test240.json"
    late.write_bytes(b"")
    os.utime(late, (time.time() + 86400, time.time() + 86400))
    assert Diary(tmp_path, world.clock).spent == pytest.approx(spent, abs=0.1)


def test_what_is_no_work_spends_nothing(tmp_path):
    """Looking again at a race that is done must not eat its budget."""
    world = World(TEN)
    diary = Diary(tmp_path, world.clock)
    with diary.working():
        world.now = 58.0
    world.now = 63.0
    assert diary.spent == 58
    again = Diary(tmp_path, world.clock)
    world.now = 70.0
    assert again.spent == 58
