"""One small detection data set, written in the on-disk formats of COCO, VOC and YOLO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.data.making import noise, png

CONF = Path(__file__).parents[2] / "conf/dataset"
CLASSES = ("ant", "bee", "cat")
# Split and name of an image, its (width, height), and (class, left, top, right, bottom) of its objects. The numbers
# are whole in all three formats: VOC counts pixels, and YOLO's shares of 40 x 20 and 20 x 40 are exact.
IMAGES = [
    ("train", "a", (40, 20), [("bee", 0, 0, 40, 20), ("cat", 10, 4, 14, 12)]),
    ("train", "b", (20, 40), [("ant", 5, 6, 15, 26)]),
    ("train", "c", (40, 20), []),
    ("train", "d", (40, 20), [("cat", 1, 1, 3, 5)]),
    ("val", "e", (20, 40), [("bee", 2, 2, 20, 40)]),
    ("test", "f", (40, 20), [("ant", 0, 10, 8, 20), ("ant", 20, 0, 32, 8)]),
]


def dataset(name, root, **changes):
    config = OmegaConf.create({"dataset": OmegaConf.load(CONF / f"{name}.yaml")})
    config.dataset.root = str(root)
    for key, value in changes.items():
        OmegaConf.update(config, f"dataset.{key}", value)
    return instantiate(config.dataset)


def write_image(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(noise(size[1], size[0], 3, seed=seed)))


def coco(root, images=IMAGES, ids=(3, 7, 90)):
    """Category ids with gaps, listed out of order; the images of each split in a folder of its name."""
    for split in dict.fromkeys(image[0] for image in images):
        document = {
            "images": [],
            "annotations": [],
            "categories": [{"id": ids[k], "name": CLASSES[k]} for k in (2, 0, 1)],
        }
        for number, (where, name, (width, height), objects) in enumerate(images):
            if where != split:
                continue
            write_image(root / split / f"{name}.png", (width, height), number)
            document["images"].append(
                {"id": 100 + number, "file_name": f"{name}.png", "width": width, "height": height}
            )
            for kind, left, top, right, bottom in objects:
                box = [left, top, right - left, bottom - top]
                entry = {"image_id": 100 + number, "category_id": ids[CLASSES.index(kind)], "bbox": box, "iscrowd": 0}
                document["annotations"].append({"id": len(document["annotations"]), **entry})
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(document))
    return root


def edit_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def voc_object(kind, left, top, right, bottom, difficult=0):
    corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
    return f"<object><name>{kind}</name><difficult>{difficult}</difficult><bndbox>{inner}</bndbox></object>"


def voc(root, images=IMAGES):
    for number, (split, name, (width, height), objects) in enumerate(images):
        write_image(root / f"JPEGImages/{name}.png", (width, height), number)
        words = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation>{words}{''.join(voc_object(*each) for each in objects)}</annotation>"
        (root / "Annotations").mkdir(exist_ok=True)
        (root / f"Annotations/{name}.xml").write_text(text)
        (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        with (root / f"ImageSets/Main/{split}.txt").open("a") as file:
            file.write(f"{name}\n")
    return root


def yolo(root, images=IMAGES):
    for number, (split, name, (width, height), objects) in enumerate(images):
        write_image(root / f"images/{split}/{name}.png", (width, height), number)
        lines = []
        for kind, left, top, right, bottom in objects:
            shares = (left + right) / 2 / width, (top + bottom) / 2 / height
            shares += (right - left) / width, (bottom - top) / height
            lines.append(f"{CLASSES.index(kind)} {' '.join(map(str, shares))}\n")
        if lines:
            path = root / f"labels/{split}/{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines))
    folders = "".join(f"{split}: images/{split}\n" for split in dict.fromkeys(image[0] for image in images))
    (root / "data.yaml").write_text(f"{folders}nc: 3\nnames: [ant, bee, cat]\n")
    return root


FORMATS = {"coco_folder": coco, "voc_folder": voc, "yolo_folder": yolo}


def objects_of(data):
    """{image's name: [(class, left, top, right, bottom)]} of all splits."""
    return {
        Path(name).stem: [
            (data.classes[label], *corners.tolist()) for label, corners in zip(each.labels, each.corners, strict=True)
        ]
        for split in data.splits.values()
        for name, each in zip(split.ids, split.targets, strict=True)
    }


def boxes_equal(one, other):
    return np.array_equal(one.corners, other.corners) and np.array_equal(one.labels, other.labels)
