"""Training steps of other projects, written down from what they compute, to stand beside ours in a benchmark."""
