"""ablation.plan and plan_reader: what a plan says, and what it may not say."""

import re

import pytest
import yaml

from libra_tf.ablation.plan_reader import find_plan, load_plan
from libra_tf.errors import UserError
from libra_tf.experiments.files import config_files, plan_files

PLANS = plan_files()
ROWS = [(name, row) for name in PLANS for row in load_plan(name).rows]


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def row(name, **keys):
    return {"name": name, "config": "bccd/libra_retinanet", **keys}


def read(folder, *rows, **keys):
    return load_plan(write(folder, yaml.safe_dump({"rows": list(rows), **keys})))


def test_all_keys(tmp_path):
    first = row(
        "a",
        baseline=True,
        set={"task.losses.box.beta": 0.5, "trainer": {"seed": 1}},
        two_core={"task": {"model": {"neck": {"type": "none"}}}},
        published={"AP": 36},
        note="a word",
    )
    plan = read(tmp_path, first, row("b"), title="What", paper="Where")
    assert (plan.name, plan.title, plan.paper) == ("mine", "What", "Where")
    a, b = plan.rows
    assert a.configs == ("bccd/libra_retinanet",)
    assert a.settings == {"task.losses.box.beta": 0.5, "trainer.seed": 1}
    assert a.two_core == {"task.model.neck.type": "none"}
    assert a.published == {"AP": 36.0}
    assert (a.baseline, b.baseline, a.note, b.note) == (None, "a", "a word", "")


def test_several_files_of_a_row(tmp_path):
    plan = read(tmp_path, {"name": "a", "baseline": True, "config": ["x", "y"]})
    assert plan.rows[0].configs == ("x", "y")


def test_groups_have_their_own_baselines(tmp_path):
    groups = [
        {"title": "one", "rows": [row("a", baseline=True), row("b")]},
        {"title": "two", "rows": [row("c"), row("d", baseline=True)]},
    ]
    plan = load_plan(write(tmp_path, yaml.safe_dump({"groups": groups})))
    found = [(r.name, r.group, r.baseline) for r in plan.rows]
    assert found == [
        ("a", "one", None),
        ("b", "one", "a"),
        ("c", "two", "d"),
        ("d", "two", None),
    ]


def test_a_named_baseline_goes_before_the_only_one(tmp_path):
    rows = row("a", baseline=True), row("b"), row("c", baseline="b")
    assert [r.baseline for r in read(tmp_path, *rows).rows] == [None, "a", "b"]


def test_rows_are_chosen_in_the_order_of_the_plan(tmp_path):
    plan = read(tmp_path, row("a", baseline=True), row("b"), row("c"))
    assert [r.name for r in plan.choose(["c", "a"])] == ["a", "c"]
    assert [r.name for r in plan.choose(None)] == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"mine.yaml: there is no row 'd'; near: "):
        plan.choose(["d"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rows": []}, "rows: must be a list with entries"),
        ({"rows": [row("a")], "groups": []}, "give either `rows` or `groups`"),
        ({"title": "x"}, "give either `rows` or `groups`"),
        ({"rows": [3]}, "a row is no mapping with a `name`: 3"),
        ({"rows": [row("a", sets={})]}, "key 'sets'; did you mean set?"),
        ({"row": [row("a")]}, "there is no key 'row'; did you mean rows?"),
        ({"rows": [row("../a", baseline=True)]}, "row ../a: use letters"),
        ({"rows": [{"name": "a", "baseline": True}]}, "row a: `config` names no"),
        ({"rows": [{"name": "a", "config": [1]}]}, "row a: `config` names no"),
        ({"rows": [row("a")]}, "row a: `baseline` must name a row"),
        ({"rows": [row("a", baseline="b")]}, "row a: its baseline 'b' is no row"),
        ({"rows": [row("a", baseline=True, step_from="b")]}, "its step_from 'b' is no"),
        ({"rows": [row("a", baseline=True, step_from="a")]}, "`step_from` names the"),
        ({"rows": [row("a", baseline=True)] * 2}, "two rows are called a"),
        ({"rows": [row("a", baseline=True, set=[1])]}, "row a: `set` is no mapping"),
        ({"rows": [row("a", published={"AP": "x"})]}, "row a: published.AP is 'x'"),
        ({"groups": [{"rows": [row("a")], "x": 1}]}, "group 1: there is no key 'x'"),
        ({"rows": [row("a", baseline="b"), row("b", baseline="a")]},
         "row a: its baselines lead back to it (a -> b -> a); give one"),
        ({"rows": [row("a", baseline=True), row("b", baseline="b")]},
         "row b: its baselines lead back to it (b -> b)"),
        ({"rows": [row("a", baseline="c"), row("b", baseline="c"),
                   row("c", baseline="b")]}, "row c: its baselines lead back to it"),
        ({"rows": [row("a", published={"AP": float("nan")})]}, "published.AP is nan"),
        ({"rows": [row("a", published={"AP": float("inf")})]}, "published.AP is inf"),
        ({"rows": [row("a", published={"AP": 10**400})]}, "published.AP is 10000"),
        ({"rows": [row("a", published={"AP": True})]}, "published.AP is True, not a"),
        ({"groups": [{"title": ["x"], "rows": [row("a", baseline=True)]}]},
         "group 1: `title` is no text: ['x']; put it in quotes"),
        ({"title": 3, "rows": [row("a", baseline=True)]}, "`title` is no text: 3; put"),
        ({"rows": [row("a", baseline=True, note=3)]}, "row a: `note` is no text: 3"),
        ({"rows": [row("fpn", baseline=True), row("FPN")]},
         "rows fpn and FPN differ in capitals only"),
        ({"rows": [row("a" * 300, baseline=True)]}, "the name has 300 characters, and"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_file_and_the_key(tmp_path, content, message):
    path = write(tmp_path, yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        load_plan(path)
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)


def test_a_plan_that_is_not_there():
    with pytest.raises(UserError, match=r"libra_table3: no such .*are libra_"):
        find_plan("libra_table3")


def test_plans_are_no_experiment_files():
    assert not [name for name in config_files() if name.startswith("plans")]
    assert {"libra_table2", "libra_retinanet"} <= PLANS.keys()


@pytest.mark.parametrize("name", PLANS)
def test_a_shipped_plan_says_what_it_is(name):
    with open(PLANS[name], encoding="utf-8") as file:
        assert file.readline().startswith("# ")
    plan = load_plan(name)
    assert plan.title != name
    assert plan.paper
    assert any(row.baseline is None for row in plan.rows)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{n}-{r.name}" for n, r in ROWS])
def test_published_numbers_are_those_of_the_heads(name, row):
    """Only where a row is one file: then its head has the numbers of the same row."""
    if row.settings or not row.published:
        return
    files = config_files()
    with open(files[row.configs[-1]], encoding="utf-8") as file:
        text = " ".join(line.lstrip("# ").strip() for line in file if line[0] == "#")
    text = text.partition("Expected: ")[2].partition("Published")[0]
    text = re.sub(r"\(baseline.*?\)", "", text).partition(";")[0]
    found = {k: float(v) for k, v in re.findall(r"(AP\w*) (\d\d\.\d)", text)}
    assert row.published == found
