"""Fast selection and sparse products."""
