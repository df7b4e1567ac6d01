"""Metrics of circuits and of weights."""
