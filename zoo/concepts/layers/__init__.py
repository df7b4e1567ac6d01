"""What concept models are made of."""
