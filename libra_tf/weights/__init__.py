"""Weights: checkpoints found and restored, published PyTorch detectors imported."""
