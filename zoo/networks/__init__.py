"""Networks that turn inputs into features: image backbones, text, series and table encoders."""
