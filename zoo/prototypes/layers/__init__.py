"""Layers and functions that prototype models are built from."""
