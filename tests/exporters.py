"""Small sets as the usual exporters write them: one maker for each, by its own rules.

A maker fills a folder. Every set has the pictures of `PICTURES`, 40 x 30, each with one
object of `BOX`; makers with splits put them into the splits in turn.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

WIDTH, HEIGHT = 40, 30
BOX = (4, 5, 10, 20)
PICTURES = ("im 1", "im2", "im3", "im4", "im5")
CLASSES = ("cat", "dog")
# The id that Roboflow gives its root class, and Label Studio its first.
FIRST_ID = 0


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (shade * 40, 9, 9)).save(path, format="JPEG")


def coco(names, categories=None, first_id=1, **fields):
    """Returns a COCO file's content; the classes take turns."""
    categories = categories or [
        {"id": key, "name": name} for key, name in enumerate(CLASSES, start=1)
    ]
    ids = [category["id"] for category in categories if category["name"] in CLASSES]
    images = [
        {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for key, name in enumerate(names, start=first_id)
    ]
    annotations = [
        {
            "id": key,
            "image_id": key,
            "category_id": ids[key % len(ids)],
            "bbox": list(BOX),
            "area": BOX[2] * BOX[3],
            "iscrowd": 0,
            **fields,
        }
        for key, _ in enumerate(names, start=first_id)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def xml(name, filename, folder="", extra="", path=None):
    """Returns an XML file's content."""
    x, y, width, height = BOX
    sides = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
    return (
        f"<annotation>\n\t<folder>{folder}</folder>\n"
        f"\t<filename>{escape(filename)}</filename>\n"
        f"\t<path>{path or filename}</path>\n"
        f"\t<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        f"\n\t<segmented>0</segmented>\n\t<object><name>{name}</name>"
        f"<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        f"{extra}<bndbox>{box}</bndbox></object>\n</annotation>\n"
    )


def write_xml(file: Path, index: int, **fields) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fields.setdefault("filename", f"{file.stem}.jpg")
    file.write_text(xml(CLASSES[index % 2], **fields))


def in_turn(*splits):
    """Yields split, number and name of each picture."""
    for index, name in enumerate(PICTURES):
        yield splits[index % len(splits)], index, name


def by_split(*splits):
    parts = {split: [] for split in splits}
    for split, _, name in in_turn(*splits):
        parts[split].append(f"{name}.jpg")
    return parts


def coco_2017(folder):
    for split, names in by_split("train2017", "val2017").items():
        write_json(folder / f"annotations/instances_{split}.json", coco(names))
        captions = {"images": [], "annotations": []}
        write_json(folder / f"annotations/captions_{split}.json", captions)
        for name in names:
            picture(folder / split / name)


def roboflow_coco(folder):
    categories = [{"id": FIRST_ID, "name": "animals", "supercategory": "none"}]
    for key, name in enumerate(CLASSES, start=FIRST_ID + 1):
        categories.append({"id": key, "name": name, "supercategory": "animals"})
    for split, names in by_split("train", "valid", "test").items():
        names = [f"{n[:-4].replace(' ', '-')}_jpg.rf.0a1b2c3d.jpg" for n in names]
        content = coco(names, categories, first_id=0, segmentation=[])
        write_json(folder / split / "_annotations.coco.json", content)
        for name in names:
            picture(folder / split / name)
    (folder / "README.dataset.txt").write_text("# animals > 2024\n")


def roboflow_voc(folder):
    for split, index, name in in_turn("train", "valid", "test"):
        stem = f"{name.replace(' ', '-')}_jpg.rf.0a1b2c3d"
        picture(folder / split / f"{stem}.jpg")
        extra = "<occluded>0</occluded>"
        write_xml(folder / split / f"{stem}.xml", index, extra=extra)
    (folder / "README.roboflow.txt").write_text("animals\n")


def cvat_coco(folder):
    for split, names in by_split("Train", "Validation").items():
        fields = {"segmentation": [], "attributes": {"occluded": False}}
        path = folder / f"annotations/instances_{split}.json"
        write_json(path, coco(names, **fields))
        for name in names:
            picture(folder / "images" / split / name)


def cvat_coco_task(folder):
    names = [f"{name}.jpg" for name in PICTURES]
    write_json(folder / "annotations/instances_default.json", coco(names))
    for name in names:
        picture(folder / "images/default" / name)


def cvat_voc(folder):
    lists = {"Train": [], "Validation": []}
    for split, index, name in in_turn(*lists):
        picture(folder / f"JPEGImages/{name}.jpg")
        extra = "<occluded>0</occluded>"
        write_xml(folder / f"Annotations/{name}.xml", index, extra=extra)
        lists[split].append(f'"{name}"' if " " in name else name)
    main = folder / "ImageSets/Main"
    main.mkdir(parents=True)
    for split, names in lists.items():
        (main / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for label in CLASSES:
            lines = "".join(f"{name} -1\n" for name in names)
            (main / f"{label}_{split}.txt").write_text(lines)
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\ncat:1,2,3::\n"
    )


def voc_2012(folder):
    names = [name.replace(" ", "_") for name in PICTURES]
    for index, name in enumerate(names):
        picture(folder / f"JPEGImages/{name}.jpg")
        write_xml(folder / f"Annotations/{name}.xml", index)
    main = folder / "ImageSets/Main"
    main.mkdir(parents=True)
    lists = {"train": names[:3], "val": names[3:], "trainval": names}
    for split, chosen in lists.items():
        (main / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen))
        lines = "".join(f"{name} -1\n" for name in chosen)
        (main / f"train_{split}.txt").write_text(lines)  # The class of trains.


def label_studio_coco(folder):
    categories = [
        {"id": key, "name": name} for key, name in enumerate(CLASSES, start=FIRST_ID)
    ]
    names = [f"1a2b3c4d-{name.replace(' ', '_')}.jpg" for name in PICTURES]
    stored = [f"images\\{name}" for name in names]
    content = coco(stored, categories, first_id=0, segmentation=[], ignore=0)
    write_json(folder / "result.json", {**content, "info": {"year": 2024}})
    for name in names:
        picture(folder / "images" / name)


def labelimg_flat(folder):
    for index, name in enumerate(PICTURES):
        picture(folder / f"{name}.jpg")
        path = f"/home/someone/pictures/{name}.jpg"
        write_xml(folder / f"{name}.xml", index, folder="pictures", path=path)
    (folder / "classes.txt").write_text("cat\ndog\n")


def makesense_voc(folder):
    for index, name in enumerate(PICTURES):
        picture(folder / f"images/{name}.jpg")
        fields = {"folder": "my-project-name", "path": f"/my-project-name/{name}.jpg"}
        write_xml(folder / f"annots/{name}.xml", index, **fields)


def makesense_coco(folder):
    names = [f"{name}.jpg" for name in PICTURES]
    content = {"info": {"description": "my-project-name"}, **coco(names)}
    write_json(folder / "labels_my-project-name_2024-01-31-09-15-20.json", content)
    for name in names:
        picture(folder / name)


def via_coco(folder):
    names = [f"{name}.jpg" for name in PICTURES]
    fields = {"segmentation": [4, 5, 14, 5, 14, 25, 4, 25]}
    content = coco(names)
    for annotation in content["annotations"]:
        annotation["segmentation"] = [fields["segmentation"]]
    write_json(folder / "via_project_31Jan2024_9h15m_coco.json", content)
    for name in names:
        picture(folder / name)


def fiftyone_coco(folder):
    for split, names in by_split("train", "val").items():
        write_json(folder / split / "labels.json", coco(names))
        for name in names:
            picture(folder / split / "data" / name)


def fiftyone_voc(folder):
    for split, index, name in in_turn("train", "validation"):
        picture(folder / split / f"data/{name}.jpg")
        write_xml(folder / split / f"labels/{name}.xml", index)


def labelme2coco(folder):
    names = [f"{name}.jpg" for name in PICTURES]
    stored = [f"JPEGImages/{name}" for name in names]
    write_json(folder / "annotations.json", coco(stored))
    for name in names:
        picture(folder / "JPEGImages" / name)


def folders_of_xml(folder):
    for split, index, name in in_turn("train", "test"):
        picture(folder / f"images/{split}/{name}.JPG")
        write_xml(folder / f"annotations/{split}/{name}.xml", index)


def yolo_line(index, numbers=None):
    """Returns the line of the box of a picture; the classes take turns."""
    x, y, width, height = BOX
    box = ((x + width / 2) / WIDTH, (y + height / 2) / HEIGHT, width / WIDTH,
           height / HEIGHT)  # fmt: skip
    words = [f"{value:.6f}" for value in numbers or box]
    return " ".join([str(index % len(CLASSES)), *words]) + "\n"


def write_label(file: Path, index: int, numbers=None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yolo_line(index, numbers))


def yolo_folders(folder):
    for split, index, name in in_turn("train", "val"):
        picture(folder / f"images/{split}/{name}.jpg")
        write_label(folder / f"labels/{split}/{name}.txt", index)


def yolo_ultralytics(folder):
    yolo_folders(folder)
    (folder / "data.yaml").write_text(
        "path: /content/datasets/animals\ntrain: images/train\nval: images/val\n"
        "test:\nnames:\n  0: cat\n  1: dog\n"
    )


def roboflow_yolo(folder):
    for split, index, name in in_turn("train", "valid", "test"):
        stem = f"{name.replace(' ', '-')}_jpg.rf.0a1b2c3d"
        picture(folder / split / f"images/{stem}.jpg")
        write_label(folder / split / f"labels/{stem}.txt", index)
    (folder / "README.roboflow.txt").write_text("animals\n")
    (folder / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
        "nc: 2\nnames: ['cat', 'dog']\n\nroboflow:\n  workspace: someone\n"
    )


def label_studio_yolo(folder):
    for index, name in enumerate(PICTURES):
        stem = f"1a2b3c4d-{name.replace(' ', '_')}"
        picture(folder / f"images/{stem}.jpg")
        write_label(folder / f"labels/{stem}.txt", index)
    (folder / "classes.txt").write_text("cat\ndog")
    names = [{"id": key, "name": name} for key, name in enumerate(CLASSES)]
    write_json(folder / "notes.json", {"categories": names, "info": {"year": 2024}})


def labelimg_yolo(folder):
    for index, name in enumerate(PICTURES):
        picture(folder / f"{name}.jpg")
        write_label(folder / f"{name}.txt", index)
    (folder / "classes.txt").write_text("cat\ndog\n")


def cvat_yolo(folder):
    lists = {"Train": [], "Validation": []}
    for split, index, name in in_turn(*lists):
        picture(folder / f"obj_{split}_data/{name}.jpg")
        write_label(folder / f"obj_{split}_data/{name}.txt", index)
        lists[split].append(f"data/obj_{split}_data/{name}.jpg\n")
    for split, lines in lists.items():
        (folder / f"{split}.txt").write_text("".join(lines))
    (folder / "obj.names").write_text("cat\ndog\n")
    (folder / "obj.data").write_text("classes = 2\ntrain = data/Train.txt\n")


def fiftyone_yolo(folder):
    yolo_folders(folder)
    (folder / "dataset.yaml").write_text(
        "names:\n  0: cat\n  1: dog\npath: /tmp/fiftyone/animals\n"
        "train: ./images/train/\nval: ./images/val/\n"
    )


# By the first column of the table in docs/data.md.
MAKERS = {
    "COCO 2017": coco_2017,
    "Roboflow, COCO": roboflow_coco,
    "Roboflow, Pascal VOC": roboflow_voc,
    "CVAT, COCO 1.0": cvat_coco,
    "CVAT, COCO 1.0, a task without subsets": cvat_coco_task,
    "CVAT, PASCAL VOC 1.1": cvat_voc,
    "Pascal VOC 2012": voc_2012,
    "Label Studio, COCO": label_studio_coco,
    "labelImg": labelimg_flat,
    "makesense.ai, VOC XML": makesense_voc,
    "makesense.ai, COCO JSON": makesense_coco,
    "VGG Image Annotator, COCO": via_coco,
    "FiftyOne, COCO": fiftyone_coco,
    "FiftyOne, VOC": fiftyone_voc,
    "labelme2coco": labelme2coco,
    "XML and images in folders of splits": folders_of_xml,
    "Ultralytics, YOLO": yolo_ultralytics,
    "Roboflow, YOLO": roboflow_yolo,
    "Label Studio, YOLO": label_studio_yolo,
    "labelImg, YOLO": labelimg_yolo,
    "CVAT, YOLO 1.1": cvat_yolo,
    "FiftyOne, YOLOv5": fiftyone_yolo,
}
