"""The page of a circuit: its graph, its nodes, and the circuit itself, which runs in the browser."""
