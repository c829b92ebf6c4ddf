"""Reads tensors from PyTorch files without PyTorch, and runs nothing in them.

Knows no detector: names of weights are `libra_tf.weights`' matter.
"""
