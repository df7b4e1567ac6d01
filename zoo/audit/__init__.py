"""Explanations in production: decision records, differences between versions of a model, drift of its reasons."""
