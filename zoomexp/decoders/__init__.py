"""What turns a host's features into a class for every pixel."""
