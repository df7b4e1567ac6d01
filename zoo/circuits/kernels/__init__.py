"""Fast selection of the largest magnitudes, and products with sparse matrices."""
