"""Networks, optimizer, losses and circuits of the models."""
