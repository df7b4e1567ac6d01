"""The contract: evidence, explanations, the base class of all models, and their registry."""
