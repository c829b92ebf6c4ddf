"""What a SavedModel could do to files and processes, told without loading it.

A SavedModel is a program. TensorFlow runs it with the rights of whoever loads it: it
may read and write any file that they may.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from libra_tf.errors import LONGEST_LINE, UserError

FILE = "saved_model.pb"
# TensorFlow takes this in its place where it is there.
_OTHER_FILE = "saved_model.cpb"
# With these every SavedModel writes and reads its own weights, on request.
_CHECKPOINT_OPS = frozenset((
    "MergeV2Checkpoints", "Restore", "RestoreSlice", "RestoreV2", "Save", "SaveSlices",
    "SaveV2",
))  # fmt: skip
_OTHER_OPS = frozenset((
    # Files as such.
    "MatchingFiles", "ReadFile", "WriteFile", "ImmutableConst", "PrintV2",
    "FileSystemSetConfiguration", "InitializeTableFromTextFile",
    "InitializeTableFromTextFileV2",
    # Readers and data sets.
    "CSVDataset", "CSVDatasetV2", "CacheDataset", "CacheDatasetV2", "DatasetToTFRecord",
    "DistributedSave", "ExperimentalCSVDataset", "ExperimentalDatasetToTFRecord",
    "ExperimentalLMDBDataset", "ExperimentalMatchingFilesDataset",
    "ExperimentalSqlDataset", "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2",
    "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "LMDBDataset", "LMDBReader",
    "ListSnapshotChunksDataset", "LoadDataset", "MatchingFilesDataset", "SaveDataset",
    "SaveDatasetV2", "SnapshotChunkDataset", "SnapshotDataset", "SnapshotDatasetReader",
    "SnapshotDatasetV2", "SnapshotNestedDatasetReader", "SqlDataset", "TFRecordDataset",
    "TFRecordDatasetV2", "TFRecordReader", "TFRecordReaderV2", "TextLineDataset",
    "TextLineReader", "TextLineReaderV2", "WholeFileReader", "WholeFileReaderV2",
    # Logs and debugging, whose targets are files or addresses.
    "CreateSummaryDbWriter", "CreateSummaryFileWriter", "DebugIdentity",
    "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary",
    # Python and other machines.
    "DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3",
    "DataServiceDatasetV4", "EagerPyFunc", "PyFunc", "PyFuncStateless",
    "RegisterDataset", "RegisterDatasetV2", "RemoteCall", "RemoteFusedGraphExecute",
    "RpcCall", "RpcClient", "RpcServer",
))  # fmt: skip


def risky_ops(folder: str) -> list[str]:
    """Returns the ops of a SavedModel that reach files, processes or other machines.

    Ops that save and restore its own weights are left out where only TensorFlow's own
    entries for that lead to them.

    Args:
        folder: with saved_model.pb.

    Raises:
        UserError: the file is damaged.
    """
    path = os.path.join(folder, FILE)
    saved = saved_model_pb2.SavedModel()
    try:
        with open(path, "rb") as file:
            saved.ParseFromString(file.read())
    except (OSError, DecodeError, ValueError) as error:
        raise UserError(f"{path}: not a usable SavedModel ({error})") from error
    found = {op for graph in saved.meta_graphs for op in _risky_in(graph)}
    return sorted(found)


def check_ops(folder: str, hint: str) -> None:
    """Raises `UserError` for a SavedModel that could do more than detect.

    Args:
        folder: of the SavedModel.
        hint: how to run it all the same.
    """
    if os.path.exists(os.path.join(folder, _OTHER_FILE)):
        raise UserError(f"{folder}: {_OTHER_FILE} cannot be looked into; {hint}")
    found = risky_ops(folder)
    if found:
        # None may be missing from what people decide by, as from the middle of a line.
        raise UserError(
            *(
                f"{folder}: is a program that can reach files or processes: it has the "
                f"ops {ops.rstrip(chr(44))}; {hint}"
                for ops in textwrap.wrap(", ".join(found), LONGEST_LINE // 2)
            )
        )


def _risky_in(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    functions = {f.signature.name: f.node_def for f in graph.graph_def.library.function}
    entries = {_node_of(graph.saver_def.save_tensor_name),
               _node_of(graph.saver_def.restore_op_name)}  # fmt: skip
    savers = [node for node in graph.graph_def.node if node.name in entries]
    others = [node for node in graph.graph_def.node if node.name not in entries]
    of_savers = _reached(savers, functions)
    # What may be called by name, and what is called by it, is no saver's alone.
    named = set(graph.object_graph_def.concrete_functions) & set(functions)
    shared = _reached(others, functions) | named
    for name in named:
        shared |= _reached(functions[name], functions)
    for node in others:
        yield from _ops([node], _CHECKPOINT_OPS | _OTHER_OPS)
    for name, nodes in functions.items():
        only_saver = name in of_savers and name not in shared
        yield from _ops(
            nodes, _OTHER_OPS if only_saver else _CHECKPOINT_OPS | _OTHER_OPS
        )


def _ops(nodes: Iterable[node_def_pb2.NodeDef], risky: frozenset[str]) -> Iterator[str]:
    return (node.op for node in nodes if node.op in risky)


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]


def _reached(
    nodes: Iterable[node_def_pb2.NodeDef],
    functions: dict[str, Iterable[node_def_pb2.NodeDef]],
) -> set[str]:
    """Names of the functions that nodes call, and that those call."""
    reached: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        for name in {node.op, *_arguments(node)} & set(functions) - reached:
            reached.add(name)
            waiting += functions[name]
    return reached


def _arguments(node: node_def_pb2.NodeDef) -> Iterator[str]:
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)
