"""What data modules are made of."""
