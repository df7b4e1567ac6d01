"""Whether what a selector selects is a reason for its answer, or a code for it."""
