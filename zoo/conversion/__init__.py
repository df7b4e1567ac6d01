"""From a trained network to a self-interpretable model of the same features."""
