"""Test-time interventions on annotated concepts: simulated annotators, policies and accuracy curves."""
