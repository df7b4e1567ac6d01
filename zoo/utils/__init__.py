"""Helpers that every part of the library may use."""
