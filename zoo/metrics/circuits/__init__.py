"""Metrics of circuits and of weight matrices."""
