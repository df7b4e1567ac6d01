"""Parts of the models of sequences."""
