"""Data sets that were collected, and the user's own files."""
