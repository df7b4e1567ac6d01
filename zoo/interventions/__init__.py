"""Interventions: correct concepts and see how the scores follow."""
