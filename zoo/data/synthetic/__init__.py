"""Generated data sets whose evidence is known."""
