"""What a network costs, found by running the real module, never from a second description."""
