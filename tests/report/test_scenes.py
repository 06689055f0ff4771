import numpy as np
import pytest

from modelrank.report import figures
from modelrank.report.content import Scene
from modelrank.types import Boxes


def boxes(*corners, labels, scores=None):
    return Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        None if scores is None else np.array(scores, np.float32),
    )


def test_overlaps_are_intersection_over_union():
    box = np.array([0.0, 0, 10, 10])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 10, 20, 20], [2, 2, 4, 4]])
    assert figures._overlaps(box, others) == pytest.approx([1, 1 / 3, 0, 0.04])


def test_what_fits_is_coloured_and_the_rest_is_grey(report):
    marked = boxes([0, 0, 20, 20], [30, 30, 50, 50], labels=[0, 1])
    found = boxes([1, 0, 20, 20], [30, 30, 50, 50], [0, 30, 10, 50], labels=[0, 0, 1], scores=[0.9, 0.8, 0.7])
    nothing = boxes(labels=[], scores=[])
    scene = Scene("a", np.zeros((60, 60, 3), np.uint8), marked, {"good": found, "blind": nothing}, ("cat", "dog"))
    report.context["scenes"] = [scene]
    figure = figures.scenes(report)
    good, blind = figure.axes
    colours = [line.get_color() for line in good.lines]
    assert colours == ["white"] * 2 + [figures.ORANGE, figures.GREY, figures.GREY]  # the second has the wrong class
    assert [text.get_text() for text in good.texts] == ["cat 0.90", "cat 0.80", "dog 0.70"]
    assert (len(blind.lines), len(blind.texts)) == (2, 0)


def test_no_scenes_no_figure(report):
    assert figures.scenes(report) is None
