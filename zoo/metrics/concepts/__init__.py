"""Metrics of concept predictions and of what concepts leak."""
