"""Small things that every part of the zoo may use."""
