"""Training losses: each returns its terms by name; the sum of the terms is minimised."""
