"""Pictures of what models look at."""
