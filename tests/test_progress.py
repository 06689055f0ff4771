"""Progress: a bar only on a terminal; in a pipe or a file a plain line every few seconds; of short work nothing."""

import io
import itertools
import logging

import pytest
from hydra import compose, initialize_config_dir

from modelrank import progress
from modelrank.progress import Progress, spoken
from modelrank.root import CONF
from modelrank.trainers import quiet


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock finds a second more."""
    monkeypatch.setattr(progress.time, "monotonic", itertools.count().__next__)


def test_short_work_shows_nothing(capsys):
    assert list(progress.progress(range(3), "counting", 3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_no_terminal_gets_whole_lines_ever_further_apart(capsys, clock):
    with Progress("counting", 1000, "images") as shown:
        for _ in range(100):
            shown.update(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    lines = err.splitlines()
    assert lines[0] == "counting: 10 of 1000 images, 2/s, 8 min 15 s left"
    assert 8 < len(lines) < 20


def test_what_was_done_before_is_no_part_of_the_rate(capsys, clock):
    with Progress("counting", 1000, "rows", done=900) as shown:
        for _ in range(5):
            shown.update(2)
    assert capsys.readouterr().err == "counting: 910 of 1000 rows, 2/s, 45 s left\n"


def test_bytes_without_a_total(capsys, clock):
    with Progress("fetch", unit="B", scaled=True) as shown:
        for _ in range(5):
            shown.update(2_000_000)
    assert capsys.readouterr().err == "fetch: 10.0M B, 2.00M/s\n"


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch):
    monkeypatch.setattr(progress.sys, "stderr", screen := Terminal())
    monkeypatch.setattr(progress, "QUIET", 0.0)
    with Progress("counting", 3, "images") as shown:
        shown.update(3)
    assert "counting: 100%" in screen.getvalue() or "counting:   0%" in screen.getvalue()
    assert screen.getvalue().endswith("\r")


def test_work_within_work_has_one_bar_in_one_line(monkeypatch):
    monkeypatch.setattr(progress.sys, "stderr", screen := Terminal())
    monkeypatch.setattr(progress, "QUIET", 0.0)
    with Progress("scoring", 2, "scores") as outer:
        outer.update()
        outer.bar.refresh()
        with Progress("reading", 3, "rows") as inner:
            inner.update(3)
            inner.bar.refresh()
        outer.update()
        outer.bar.refresh()
    said = screen.getvalue()
    assert "\n" not in said
    assert "\x1b" not in said  # no cursor is moved to a second line
    shown = [part.split(":")[0].strip() for part in said.split("\r") if ":" in part]
    assert [name for name, before in zip(shown, [None, *shown], strict=False) if name != before] == [
        "scoring",
        "reading",
        "scoring",
    ]
    assert progress.BARS == []


@pytest.mark.parametrize(
    ("verbosity", "lines", "notes"), [("quiet", False, True), ("normal", True, True), ("verbose", True, False)]
)
def test_verbosity(verbosity, lines, notes, capsys, clock, monkeypatch):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        said = compose("config", [f"verbosity={verbosity}"], return_hydra_config=True).hydra.job_logging
    log, lightning = logging.getLogger("modelrank"), logging.getLogger("pytorch_lightning.utilities.rank_zero")
    monkeypatch.setattr(log, "level", logging.getLevelName(said.loggers.get("modelrank", {"level": "INFO"})["level"]))
    log.manager._clear_cache()
    assert logging.getLevelName(said.root.level) == (logging.WARNING if verbosity == "quiet" else logging.INFO)
    with Progress("counting", 100, "images") as shown:
        for _ in range(20):
            shown.update()
    assert ("counting" in capsys.readouterr().err) == lines
    with quiet():
        assert (lightning.level == logging.WARNING) == notes
    log.manager._clear_cache()


def test_spoken():
    assert [spoken(value) for value in (12.3, 100, 1200, 7200)] == ["12 s", "100 s", "20 min", "2.0 h"]
