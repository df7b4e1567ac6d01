"""Pages of additive models: curves, heat maps, waterfalls, raw values that can be changed, and an editor."""
