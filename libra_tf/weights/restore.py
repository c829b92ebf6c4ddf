"""Initial weights from a checkpoint, with an account of what was taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import trackable_object_graph_pb2

from libra_tf.errors import UserError
from libra_tf.files.names import refuse_patterns
from libra_tf.weights.backbone import is_torch_file, load_backbone
from libra_tf.weights.carried_classes import CarriedClasses, shorten

_STEP_KEY = "global_step/.ATTRIBUTES/VARIABLE_VALUE"
_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What TensorFlow raises for checkpoints that are missing, broken or of another kind.
_READ_ERRORS = (
    tf.errors.OpError,
    message.DecodeError,
    KeyError,
    IndexError,
    ValueError,
)


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What `restore_weights` did.

    Attributes:
        source: the checkpoint.
        restored: number of variables that were set.
        total: number of variables asked for.
        missing: names of variables that the checkpoint does not have.
        mismatched: names, with both shapes, of variables of another shape.
        classes: what became of the classes, where they differ.
    """

    source: str
    restored: int
    total: int
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    classes: CarriedClasses | None = None

    def __str__(self) -> str:
        text = f"{self.restored} of {self.total} variables from {self.source}"
        if self.missing:
            text += f"; not in it: {shorten(self.missing)}"
        if self.mismatched:
            text += f"; of another shape: {shorten(self.mismatched)}"
        if self.classes:
            text += f"; {self.classes}"
        return text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def checkpoint_path(path: str) -> str:
    """Returns the checkpoint prefix that `path` means: itself, or a folder's newest.

    Raises:
        UserError: there is no checkpoint, or TensorFlow cannot look for one there.
    """
    refuse_patterns(path)
    prefix = path
    try:
        if tf.io.gfile.isdir(path):
            prefix = tf.train.latest_checkpoint(path)
            if prefix is None:
                raise UserError(f"{path}: no checkpoint in this folder")
        found = tf.io.gfile.glob(f"{prefix}.index")
    except tf.errors.OpError as error:  # no network, or an unknown kind of address
        raise UserError(f"{path}: cannot be reached ({_one_line(error)})") from error
    if not found:
        raise UserError(f"{path}: no such checkpoint (there is no {prefix}.index)")
    return prefix


def checkpoint_step(prefix: str) -> int:
    """Returns the training step at which a checkpoint was saved.

    Raises:
        UserError: it does not say; then it is not from a training run.
    """
    try:
        return int(tf.train.load_checkpoint(prefix).get_tensor(_STEP_KEY))
    except _READ_ERRORS as error:
        raise UserError(
            f"{prefix}: no training step in it ({_one_line(error)})"
        ) from error


def restore_weights(
    path: str,
    items: Mapping[str, tf.Module],
    classes: CarriedClasses | None = None,
) -> RestoreReport:
    """Sets the variables below `items` that the checkpoint has in the same shape.

    Objects are matched by the path from the root, as `tf.train.Checkpoint` does; a
    variable that is missing or of another shape keeps its value and is reported.
    Predictors of classes are taken over by the names of the classes, where those of the
    checkpoint are known and differ.

    A PyTorch file, which ends in ".pth", sets all of the backbone, see `load_backbone`.

    Args:
        path: checkpoint prefix, a folder of checkpoints, or a PyTorch file.
        items: objects by the name they have in the checkpoint; of a PyTorch file the
            `backbone` only.
        classes: of the checkpoint and of the detector; None: not known.

    Raises:
        UserError: there is no checkpoint, or nothing in it fits.
    """
    if is_torch_file(path):
        return _restore_backbone(path, items)
    report = _walk(path, items, assign=True, classes=classes)
    if not report.restored:
        raise UserError(
            f"{report.source}: none of the {report.total} variables of "
            f"{', '.join(sorted(items))} is in this checkpoint"
        )
    return report


def _restore_backbone(path: str, items: Mapping[str, tf.Module]) -> RestoreReport:
    if set(items) != {"backbone"}:
        raise UserError(
            f"{path}: a PyTorch file sets the backbone only: set "
            "task.init_checkpoint_modules to backbone; for a whole detector, start "
            "from the folder that `libra weights import` writes"
        )
    count = load_backbone(path, items["backbone"])
    return RestoreReport(path, count, count, (), ())


def restore_all(
    path: str, items: Mapping[str, tf.Module], *, finite: bool = True
) -> RestoreReport:
    """Sets every variable below `items`, or raises `UserError` and says which fails.

    See `restore_weights`.

    Args:
        path: see `restore_weights`.
        items: see `restore_weights`.
        finite: refuse a checkpoint with numbers that are not; nothing would be detected
            with such weights.
    """
    require_all(path, items)
    report = _walk(path, items, assign=True)
    variables = {id(v): v for item in items.values() for v in item.variables}
    bad = [
        v.name
        for v in variables.values()
        if v.dtype.is_floating and not np.all(np.isfinite(v.numpy()))
    ]
    if finite and bad:
        raise UserError(
            f"{report.source}: has numbers that are not finite, in {shorten(bad)}; "
            "take another checkpoint"
        )
    return report


def require_all(path: str, items: Mapping[str, tf.Module]) -> None:
    """Raises `UserError` unless the checkpoint has every variable below `items`."""
    report = inspect_checkpoint(path, items)
    if report.restored < report.total:
        raise UserError(f"the checkpoint does not fit the model: {report}")


def inspect_checkpoint(path: str, items: Mapping[str, tf.Module]) -> RestoreReport:
    """Returns what `restore_weights` would do, and sets nothing."""
    return _walk(path, items, assign=False)


def _walk(
    path: str,
    items: Mapping[str, tf.Module],
    assign: bool,
    classes: CarriedClasses | None = None,
) -> RestoreReport:
    prefix = checkpoint_path(path)
    try:
        reader = tf.train.load_checkpoint(prefix)
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            reader.get_tensor(_GRAPH_KEY)
        )
    except _READ_ERRORS as error:
        raise UserError(
            f"{prefix}: not a readable TensorFlow 2 checkpoint ({_one_line(error)})"
        ) from error
    walker = _Walker(prefix, reader, graph, assign, classes)
    walker.visit(tf.train.Checkpoint(**items), 0, "")
    return RestoreReport(
        source=prefix,
        restored=walker.restored,
        total=walker.total,
        missing=tuple(walker.missing),
        mismatched=tuple(walker.mismatched),
        classes=classes if walker.tells_classes else None,
    )


class _Reader(Protocol):
    """TensorFlow's reader of a checkpoint; its class has no public name."""

    def get_tensor(self, tensor_str: str) -> np.ndarray: ...

    def get_variable_to_shape_map(self) -> dict[str, list[int]]: ...


class _Walker:
    """Walks the objects of a program and of a checkpoint side by side."""

    def __init__(
        self,
        prefix: str,
        reader: _Reader,
        graph: trackable_object_graph_pb2.TrackableObjectGraph,
        assign: bool,
        classes: CarriedClasses | None,
    ):
        self._prefix = prefix
        self._classes = classes
        self._reader, self._nodes, self._assign = reader, graph.nodes, assign
        self._shapes = reader.get_variable_to_shape_map()
        self._seen: set[int] = set()
        self.restored, self.total = 0, 0
        self.tells_classes = False
        self.missing: list[str] = []
        self.mismatched: list[str] = []

    def visit(self, trackable: object, node_id: int | None, path: str) -> None:
        """Visits one object; `node_id` is None where the checkpoint has no twin."""
        if id(trackable) in self._seen:
            return
        self._seen.add(id(trackable))
        if isinstance(trackable, tf.Variable):
            self._restore(trackable, node_id, path)
            return
        node = None if node_id is None else self._nodes[node_id]
        twins = {} if node is None else {c.local_name: c.node_id for c in node.children}
        for name, child in tf.train.TrackableView.children(trackable).items():
            if name != "save_counter":
                self.visit(child, twins.get(name), f"{path}/{name}" if path else name)

    def _restore(self, variable: tf.Variable, node_id: int | None, path: str) -> None:
        self.total += 1
        attributes = () if node_id is None else self._nodes[node_id].attributes
        if not attributes:
            self.missing.append(path)
            return
        key = attributes[0].checkpoint_key
        have, want = tuple(self._shapes[key]), tuple(variable.shape)
        if self._carry(variable, key, path):
            return
        if have != want:
            self.mismatched.append(f"{path} {have} -> {want}")
            return
        if self._assign:
            variable.assign(self._read(key, path))
        self.restored += 1

    def _carry(self, variable: tf.Variable, key: str, path: str) -> bool:
        """Sets what belongs to classes that both know, and says whether it did."""
        classes = self._classes
        if classes is None or not classes.concerns(path):
            return False
        self.tells_classes |= not classes.are_known
        if not classes.differ:
            return False
        value = classes.carry(path, self._read(key, path), variable.numpy())
        if value is None:
            return False
        variable.assign(value)
        self.restored += 1
        self.tells_classes = True
        return True

    def _read(self, key: str, path: str) -> np.ndarray:
        try:
            return self._reader.get_tensor(key)
        except _READ_ERRORS as error:
            raise UserError(
                f"{self._prefix}: {path} cannot be read ({_one_line(error)}); the file "
                "is incomplete, take another checkpoint"
            ) from error
