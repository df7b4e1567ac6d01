"""Explanations as text and pages. Views read explanations only, and only they know HTML."""
