"""Search, measurement and comparison of circuits, and steering."""
