"""Machinery that additive models share."""
