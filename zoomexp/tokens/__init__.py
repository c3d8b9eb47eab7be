"""How a vision transformer gets its tokens."""
