"""Weights that a network starts from: files are read without running what they hold, and fitted to the network."""
