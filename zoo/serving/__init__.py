"""A model as a service over HTTP: scores, explanations and pages for the bytes of a request."""
