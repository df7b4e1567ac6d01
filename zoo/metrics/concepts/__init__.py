"""Metrics of concept predictions: quality, leakage, purity and sparsity."""
