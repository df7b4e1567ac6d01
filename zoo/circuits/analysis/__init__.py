"""Finding circuits and measuring them."""
