"""docs/methods.md: every file has a row, every setting of a row is accepted."""

import re

import pytest
from doc_pages import ROOT

from libra_tf.errors import UserError
from libra_tf.experiments.resolve import resolve
from libra_tf.experiments.saved import load_experiment, override

TEXT = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if re.match(r"\| (sample|feature|objective) ", line)
]
EXPERIMENTS = {
    "R-CNN": ["libra_fasterrcnn_resnetfpn_coco"],
    "RetinaNet": ["libra_retinanet_resnetfpn_coco"],
}
EXPERIMENTS["both"] = EXPERIMENTS["R-CNN"] + EXPERIMENTS["RetinaNet"]
# Files of these rooms that are parts of methods, or bring several together.
PARTS = {
    "losses/gradient_density.py", "losses/rising_steps.py", "losses/row_loss.py",
    "layers/levels.py", "layers/initial_weights.py",
    "layers/running_state.py", "layers/torch_fpn.py", "layers/torch_resnet.py",
    "samplers/matching.py", "samplers/mining.py", "samplers/rule.py",
}  # fmt: skip
# The short list links the loss of residual objectness, not its layer too.
LEFT_OUT = {"README.md": {"layers/objectness.py"}, "docs/methods.md": set()}


def accepted(experiment, settings):
    """Raises `UserError` unless an experiment takes the settings together."""
    params = load_experiment(experiment, [], settings)
    records = {"input_path": "*.tfrecord"}
    data = {"train_data": records, "validation_data": records, "dataset": ""}
    override(params, {"task": {**data, "model": {"num_classes": 2}}}, "test")
    resolve(params)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_the_settings_of_a_row_are_accepted(row):
    settings = re.findall(r"`([\w.]+=[\w.]+)`", row[3])
    assert settings
    if row[3].startswith("as above"):
        settings += re.findall(r"`([\w.]+=[\w.]+)`", ROWS[ROWS.index(row) - 1][3])
    for experiment in EXPERIMENTS[row[4].split(";")[0]]:
        accepted(experiment, settings)


def test_a_wrong_setting_is_refused():
    with pytest.raises(UserError):
        accepted(EXPERIMENTS["R-CNN"][0], ["task.losses.box.type=ghm_r"])


@pytest.mark.parametrize("page", LEFT_OUT)
def test_every_method_of_the_library_is_listed(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    rooms = ("losses", "layers", "samplers")
    files = {
        path.relative_to(ROOT / "libra_tf").as_posix()
        for room in rooms
        for path in (ROOT / "libra_tf" / room).glob("*.py")
        if path.stem != "__init__"
    }
    missing = {name for name in files - PARTS if f"libra_tf/{name})" not in text}
    assert missing <= LEFT_OUT[page]
