"""Agreement of explanations with known regions."""
