"""What prototype models are made of."""
