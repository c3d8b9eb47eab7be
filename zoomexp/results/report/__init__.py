"""One self-contained HTML page over all runs: tables, sweep curves, accuracy against cost, figures, the runs."""
