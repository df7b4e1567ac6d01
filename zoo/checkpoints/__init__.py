"""Checkpoints: folders of safetensors and a config, written atomically and read strictly."""
