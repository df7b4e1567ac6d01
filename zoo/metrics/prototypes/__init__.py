"""Metrics of prototypes."""
