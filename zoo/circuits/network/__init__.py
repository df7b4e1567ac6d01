"""The networks whose circuits are found."""
