import numpy as np
from PIL import Image

from modelrank.data.boxes import object_array
from modelrank.data.images import ImageData, ImageSplit
from modelrank.data.samples import samples
from modelrank.types import Boxes

N = 12


def data(task, targets, images=None, classes=("cat", "dog", "eel")):
    images = [np.full((4, 4, 3), i, np.uint8) for i in range(N)] if images is None else images
    whole = ImageSplit(images, targets, [f"i{i}" for i in range(N)])
    parts = {"train": (0, 8), "val": (8, 10), "test": (10, N)}
    splits = {name: whole.take(np.arange(*part)) for name, part in parts.items()}
    return ImageData("d", task, classes, "accuracy", splits, "here", "none", "0")


def ids(found):
    return {heading: [name for name, _ in images] for heading, images in found.items()}


def test_each_class_has_its_images_and_none_is_a_test_image():
    found = samples(data("classification", np.arange(N) % 3), each=2)
    assert ids(found) == {"cat": ["i0", "i6"], "dog": ["i1", "i4"], "eel": ["i2", "i5"]}
    assert {np.asarray(image)[0, 0, 0] for _, image in found["eel"]} == {2, 5}
    assert samples(data("classification", np.arange(N) % 3), each=0) == {}


def test_of_many_classes_some_are_shown_over_all_of_them():
    many = data("classification", np.arange(N), classes=tuple("abcdefghijkl"))
    assert ids(samples(many, each=3, classes=5)) == {"a": ["i0"], "c": ["i2"], "e": ["i4"], "g": ["i6"], "i": ["i8"]}


def test_other_tasks():
    labels = np.zeros((N, 3), np.int64)
    labels[3, [0, 2]] = 1
    assert ids(samples(data("multilabel", labels), each=2)) == {"cat": ["i3"], "eel": ["i3"]}
    boxes = [Boxes(np.zeros((k, 4), np.float32), np.array([1] * k, np.int64)) for k in [0, 2, 0, 1] + [0] * (N - 4)]
    assert ids(samples(data("detection", object_array(boxes)), each=4)) == {"dog": ["i1", "i3"]}
    values = np.linspace(0, 1, N)[::-1, None]
    found = samples(data("regression", values, classes=()), each=1)
    assert list(found) == ["0.182 to 0.455", "0.545 to 0.727", "0.818 to 1"]


def test_a_picture_that_cannot_be_opened_is_left_out_and_said(tmp_path, caplog):
    images = [str(tmp_path / f"{i}.png") for i in range(N)]
    for path in images[1:]:
        Image.new("RGB", (4, 4)).save(path)
    found = samples(data("classification", np.zeros(N, np.int64), images), each=2)
    assert ids(found) == {"cat": ["i5"]}
    assert "i0 cannot be shown" in caplog.text
