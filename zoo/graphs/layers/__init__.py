"""Parts of the models of graphs."""
