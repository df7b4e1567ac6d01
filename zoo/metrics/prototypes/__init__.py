"""Metrics of prototypes and of the size and location of evidence."""
