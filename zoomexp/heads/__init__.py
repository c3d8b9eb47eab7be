"""What stands in the place of a host's own last layer: reads its last features and says the class of an image."""
