"""What models of parts are made of."""
