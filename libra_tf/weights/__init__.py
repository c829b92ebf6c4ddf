"""Weights of published PyTorch detectors: reading, naming, importing."""
