"""What becomes of a network's answers when its test images are changed, against it or by the weather."""
