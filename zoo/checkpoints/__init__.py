"""Checkpoints: folders with a config, weights and golden explanations; written atomically, read strictly.

A checkpoint holds `config.yaml`, `model.safetensors` and `golden.safetensors`, and may hold a model card, `README.md`.
The config names the model by its registry key and gives the constructor's arguments, the metrics, and the SHA-256 of
the other files and of its own content, see `zoo.checkpoints.config_file`. The golden file holds inputs and the
explanation that the model gave for them when it was saved; `zoo.checkpoints.verify` compares them with those of the
loaded model. Loading imports nothing that a file names, and unpickles nothing.
"""
