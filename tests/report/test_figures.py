import dataclasses

import numpy as np
import pytest

from modelrank.report import figures


def texts(figure):
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_figures_are_written_and_not_empty(report, tmp_path):
    written = figures.write(figures.draw(report), tmp_path / "new")
    assert list(written) == ["spectrum", "scatter", "agreement"]
    for path in written.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000


def test_without_truth_and_parts_there_is_nothing_to_draw(make_report):
    assert list(figures.draw(make_report(with_truth=False))) == ["spectrum"]
    assert figures.draw(make_report(with_truth=False, parts=False)) == {}


def test_scatter_has_a_panel_a_scorer_with_its_tau_and_a_key_of_the_models(report):
    figure = figures.scatter(report)
    words = texts(figure)
    for row in report.agreement():
        assert f"{row.scorer}\ntau_w {row.tau_w:.2f} [{row.tau_w_low:.2f}, {row.tau_w_high:.2f}]" in words
    assert all(any(word.startswith(f"{row.model}  ") for word in words) for row in report.models())
    panel = next(axes for axes in figure.axes if axes.get_title(loc="left").startswith("disco"))
    drawn = np.sort(np.concatenate([dots.get_offsets().data for dots in panel.collections])[:, 0])
    assert drawn == pytest.approx(sorted(row.score for row in report.models()))


def test_stacked_bars_add_up_to_the_score(report):
    bars = figures.spectrum(report).axes[0].patches
    total = dict.fromkeys(range(len(report.models())), 0.0)
    for bar in bars:
        total[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    assert list(total.values()) == pytest.approx([row.score for row in report.models()])


def test_spectra_of_different_lengths_and_negative_task_scores_are_drawn(report, tmp_path):
    parts = dict(report.parts)
    parts[next(iter(parts))] = {"ratio": np.array([0.7, 0.3]), "task": np.array([-0.5, -0.1])}
    changed = dataclasses.replace(report, parts=parts)
    assert "spectrum" in figures.write(figures.draw(changed), tmp_path)


def test_a_model_named_like_mathematics_is_drawn_as_text(tmp_path, make_report):
    drawn = figures.draw(make_report(models=("$\\frac$", "b_{", "c", "d")))
    assert len(figures.write(drawn, tmp_path)) == 3


def test_forest_shows_each_scorer_and_both_levels(report):
    words = texts(figures.forest(report))
    assert {row.scorer for row in report.agreement()} <= words
    assert any(word.startswith("random scores, 95 %: 0.47 to 0.49") for word in words)
    assert any(word.startswith("two seeds of the truth") for word in words)
