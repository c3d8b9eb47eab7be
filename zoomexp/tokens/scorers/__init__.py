"""Where to look closer: each module gives every patch a score in [0, 1]."""
