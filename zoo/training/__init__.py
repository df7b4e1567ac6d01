"""How every network of the zoo trains."""
