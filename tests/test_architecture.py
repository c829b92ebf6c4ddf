"""Which room imports which: one direction, no Keras 3, light doors."""

import ast
import configparser
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "libra_tf"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each room imports, beside itself, `errors` and `setting`: all that it may, and
# each arrow is there. Rooms not listed stand at the top and may import everything.
BELOW = {
    "errors": set(),
    "setting": set(),
    "files": set(),
    "torch_files": set(),
    "ops": set(),
    "losses": {"ops"},
    "layers": {"ops"},
    "samplers": {"ops"},
    "drawing": {"files"},
    "data": {"files"},
    "evaluation": {"data", "files"},
    "experiments": {"data", "files", "layers", "losses", "ops", "samplers"},
    "models": {"ops", "layers", "samplers", "experiments"},
    "weights": {
        "data", "experiments", "files", "layers", "models", "ops", "torch_files"
    },
    "inputs": {"data", "experiments", "models", "ops", "samplers"},
    "criteria": {"experiments", "inputs", "layers", "losses", "ops"},
    "tasks": {
        "criteria", "evaluation", "experiments", "files", "inputs", "layers", "models",
        "ops", "weights",
    },
    "inference": {
        "data", "evaluation", "experiments", "files", "inputs", "models", "ops",
        "weights",
    },
    "training": {
        "data", "diagnostics", "evaluation", "experiments", "files", "inputs", "tasks",
        "weights",
    },
    "diagnostics": {
        "criteria", "experiments", "inputs", "models", "ops", "samplers", "tasks",
        "weights",
    },
    "analysis": {"data", "drawing", "evaluation", "files"},
    "ablation": {"diagnostics", "experiments", "files", "tasks", "training"},
    "plots": {"ablation", "drawing", "losses", "training"},
}  # fmt: skip
IMPORT_OFFICIAL = {
    "models", "inputs", "criteria", "tasks", "experiments", "training", "inference",
    "commands", "train", "export", "diagnostics", "ablation",
}  # fmt: skip


def room(file):
    """The first part of a module's name below the package."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(file, lazy=True):
    """Full names of what a file imports; `lazy` counts imports inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def below(name):
    """Whether `name` is in Model Garden's package."""
    return name.split(".")[0] == "official"


def rooms_imported(names):
    parts = [name.split(".") for name in names]
    rooms = {p[1] for p in parts if p[0] == "libra_tf" and len(p) > 1}
    return rooms - {"errors", "setting", "__version__"}


def wrong_arrows(file, names):
    name = room(file)
    if name not in BELOW:
        return set()
    return rooms_imported(names) - BELOW[name] - {name}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_arrows_go_one_way(file):
    assert wrong_arrows(file, imports(file)) == set()


@pytest.mark.parametrize("name", BELOW)
def test_every_arrow_is_there(name):
    files = [file for file in FILES if room(file) == name]
    used = set().union(*(rooms_imported(imports(file)) for file in files))
    assert BELOW[name] - used == set(), "remove these from BELOW"


def test_a_wrong_arrow_is_seen():
    file = PACKAGE / "losses" / "balanced_l1.py"
    for module in ("layers.non_local", "samplers", "models.neck"):
        found = wrong_arrows(file, imports(file) | {f"libra_tf.{module}"})
        assert found == {module.split(".")[0]}


def test_the_rooms_have_no_circle():
    graphlib.TopologicalSorter(BELOW).prepare()  # raises CycleError


def test_only_the_upper_floors_import_model_garden():
    users = {room(f) for f in FILES if any(map(below, imports(f)))}
    assert users - {"evaluation"} == IMPORT_OFFICIAL


def test_evaluation_imports_model_garden_only_where_it_is_used():
    files = [f for f in FILES if room(f) == "evaluation"]
    assert files
    for file in files:
        assert not any(map(below, imports(file, lazy=False))), file


def test_only_the_lower_floors_can_be_used_without_model_garden():
    """What `official` is imported by, transitively, at import time."""
    code = (
        "import sys, libra_tf.losses, libra_tf.layers, libra_tf.samplers, libra_tf.ops,"
        "libra_tf.data, libra_tf.evaluation.evaluator\n"
        "print('official' in sys.modules, 'keras_cv' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False"]


def test_no_file_imports_keras_3():
    for file in FILES:
        assert not {n for n in imports(file) if n.split(".")[0] == "keras"}, file
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"\btf\.keras\b|\btensorflow\.keras\b", text), file


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_the_package_is_imported_without_heavy_libraries():
    code = "import json, sys, libra_tf; print(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(run_python(code)))
    assert not {"tensorflow", "tf_keras", "official", "numpy"} & modules
    rooms = {name for name in modules if name.startswith("libra_tf.")}
    assert rooms == set(), "rooms load when they are touched"


def test_rooms_load_when_they_are_touched():
    code = "import libra_tf; print(libra_tf.data.load_manifest.__name__)"
    assert run_python(code).strip() == "load_manifest"
    import libra_tf

    assert {"losses", "layers", "tasks"} <= set(dir(libra_tf))
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        _ = libra_tf.loses


def test_the_package_lists_its_rooms():
    import libra_tf

    rooms = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert set(libra_tf._ROOMS) == rooms


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["data", "--help"]])
def test_help_answers_without_tensorflow(words):
    code = (
        "import sys\nfrom libra_tf.commands.main import main\n"
        f"try: main({words})\n"
        "except SystemExit as end: print('exit', end.code, 'tensorflow' in sys.modules)"
    )
    out = run_python(code)
    assert "usage: libra" in out
    assert out.splitlines()[-1] == "exit 0 False"


def test_setup_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in PACKAGE.rglob("__init__.py")
    }
    assert listed - {"libra_tf.configs"} == there
