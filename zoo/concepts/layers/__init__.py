"""Building blocks of concept models."""
