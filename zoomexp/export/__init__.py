"""A finished run's network as a file for other programs, checked against the network before it is there."""
