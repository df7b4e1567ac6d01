"""Agreement of explanations with ground-truth regions."""
