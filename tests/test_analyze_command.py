"""`libra analyze`: the report is whole, and bad input is one line."""

import html
import json
import re
import shutil

import fake_coco
import pytest

from libra_tf.commands.main import main
from libra_tf.evaluation.coco import evaluate_detections


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Annotations, detections of two detectors, and the images."""
    folder = tmp_path_factory.mktemp("analyze")
    truth = fake_coco.fake_coco()
    (folder / "val.json").write_text(json.dumps(truth))
    for name, seed in (("one", 1), ("other", 2)):
        found = fake_coco.fake_detections(truth, seed)
        (folder / f"{name}.json").write_text(json.dumps(found))
    fake_coco.draw_images(truth, folder / "images")
    return folder


def analyze(folder, *words):
    return main(
        ["analyze", str(folder / "one.json"), "--annotations",
         str(folder / "val.json"), *map(str, words)]
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(folder):
    out = folder / "out"
    words = ["--images", folder / "images", "--compare", folder / "other.json"]
    assert analyze(folder, *words, "--examples", 3, "--out", out) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    return page, json.loads((out / "report.json").read_text())


def test_the_page_needs_nothing_but_itself(report):
    page, _ = report
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) > 20
    assert all(s.startswith(("data:image/", "#")) for s in sources)
    assert "<script" not in page
    assert "url(" not in page.split("</style>")[0]
    for place in re.findall(r'href="#(\w+)"', page):
        assert f'id="{place}"' in page


def test_the_page_has_every_section_with_how_to_read_it(report):
    page, _ = report
    places = re.findall(r'<h2 id="(\w+)">', page)
    assert places == [
        "figures", "comparison", "errors", "classes", "sizes", "confusion",
        "thresholds", "calibration", "images", "labels",
    ]  # fmt: skip
    assert len(re.findall(r'</h2>\n<p class="how">[^<]{40,}</p>', page)) == len(places)
    drawn = re.findall(r"<figure><img [^>]*data:image/jpeg", page)
    assert len(drawn) >= 3 + 3 + 1  # worst, best, and a candidate at least


def test_names_of_strangers_are_text(report):
    page, _ = report
    name = fake_coco.NAMES[2]
    assert html.escape(name) in page
    assert name not in page


def test_the_figures_are_those_of_the_evaluation(folder, report):
    page, values = report
    judge = evaluate_detections(
        folder / "val.json", folder / "one.json", backend="pycocotools"
    )
    assert values["metrics"]["summary"] == judge.summary
    assert f"<td>{judge.summary['AP']:.4f}</td>" in page
    assert values["metrics"]["per_class"] == judge.per_class
    other = evaluate_detections(folder / "val.json", folder / "other.json")
    ap = values["comparison"]["figures"]["AP"]
    assert ap["difference"] == other.summary["AP"] - judge.summary["AP"]
    assert ap["low"] < ap["difference"] < ap["high"]


def test_the_parts_of_the_report_agree(report):
    _, values = report
    classes = {c["name"]: c for c in values["classes"]}
    objects = sum(c["objects"] for c in classes.values())
    assert objects == sum(f["objects"] for f in values["frequencies"])
    counts = [i["correct"] + i["missed"] for i in values["images"]]
    assert sum(counts) == objects
    matrix = values["confusion"]["matrix"]
    for name, row in zip(values["confusion"]["names"], matrix, strict=True):
        if name != "background":
            assert sum(row) == classes[name]["objects"]
    assert values["threshold"] == values["best_thresholds"]["all"]["score"]
    assert len(values["images"]) == 20
    assert "never annotated" not in values["curves"]


def test_the_terminal_tells_the_main_figures(folder, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert analyze(folder, "--out", out, "--threshold", 0.5) == 0
    printed = capsys.readouterr().out
    values = json.loads((out / "report.json").read_text())
    assert f"AP {values['metrics']['summary']['AP']:.4f}  AP50" in printed
    assert f"Bkg {values['tide']['gain']['Bkg']:.4f}" in printed
    assert f"report: {out / 'report.html'}" in printed
    assert values["threshold"] == 0.5
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Give --images DIR" in page
    assert "data:image/jpeg" not in page


def test_without_out_the_report_lies_beside_the_detections(folder, tmp_path):
    for name in ("one.json", "val.json"):
        shutil.copy(folder / name, tmp_path)
    assert analyze(tmp_path) == 0
    assert (tmp_path / "analysis" / "report.html").is_file()


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def first(**values):
    return lambda content: content[0].update(values)


BAD = {
    "an image that is not there": ("one", first(image_id=77), "image ids not in"),
    "a category that is not there": ("one", first(category_id=4), "category ids not"),
    "a score that is NaN": ("one", first(score=float("nan")), "finite numbers"),
    "a score above 1": ("one", first(score=7.5), "its score is 7.5"),
    "a box of three": ("one", first(bbox=[1, 2, 3]), "finite numbers"),
    "masks without boxes": (
        "one", lambda c: c[0].pop("bbox"), "result 1 has no bbox"
    ),
    "no detection": ("one", lambda c: c.clear(), "has no detection"),
    "no annotations": (
        "val", lambda c: c.update(annotations=[]), "annotates no object"
    ),
    "crowds only": (
        "val",
        lambda c: [a.update(iscrowd=1) for a in c["annotations"]],
        "annotates no object",
    ),
    "no list of annotations": ("val", lambda c: c.pop("annotations"), "no list"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_the_file(folder, tmp_path, capsys, case):
    name, edit, line = BAD[case]
    for file in ("one.json", "val.json"):
        shutil.copy(folder / file, tmp_path)
    change(tmp_path / f"{name}.json", edit)
    out = tmp_path / "out"
    assert analyze(tmp_path, "--out", out) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / f"{name}.json") in error
    assert line in error
    assert not out.exists()


def test_a_bad_second_detector_is_named(folder, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert analyze(folder, "--compare", other, "--out", tmp_path / "out") == 2
    assert f"{other}: has no detection" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.filterwarnings("error")
def test_objects_that_no_size_holds_leave_the_charts_empty(folder, tmp_path):
    """COCO counts areas up to 1e10: there is no AP then, and that is shown."""
    for file in ("one.json", "val.json"):
        shutil.copy(folder / file, tmp_path)
    change(
        tmp_path / "val.json",
        lambda content: [a.update(area=1e12) for a in content["annotations"]],
    )
    assert analyze(tmp_path, "--out", tmp_path / "out") == 0
    values = json.loads((tmp_path / "out" / "report.json").read_text())
    assert values["metrics"]["summary"]["AP"] is None
    assert "n/a" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_an_image_that_cannot_be_drawn_is_named(folder, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    out = tmp_path / "out"
    assert analyze(folder, "--images", images, "--out", out) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert re.search(r"image \d+0: .*\d+\.png", error)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["d.json"], "d.json: saved detections need --annotations"),
        (["d.json", "--annotations", "none.json"], "none.json: cannot be read"),
        (["runs/none"], "runs/none"),
        (["run", "--annotations", "a.json"], "--annotations goes with saved"),
        (["d.json", "--annotations", "a.json", "--threshold", "2"], "--threshold is 2"),
        (["d.json", "--annotations", "a.json", "--examples", "-1"], "--examples is -1"),
        (["d.json", "--annotations", "a.json", "--images", "no"], "--images no"),
        (["d.json", "--annotations", "a.json", "--samples", "50"], "goes with --comp"),
        (["d.json", "--compare", "e.json", "--samples", "5"], "--samples is 5"),
    ],
)
def test_wrong_words_are_one_line(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", *words]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert not list(tmp_path.iterdir())
