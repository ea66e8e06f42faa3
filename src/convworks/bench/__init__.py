"""What this machine does with a network: speed, real memory, energy."""
