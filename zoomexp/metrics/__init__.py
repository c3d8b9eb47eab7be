"""What is measured: accuracy comes from torchmetrics; here are localisation, cost and gates."""
