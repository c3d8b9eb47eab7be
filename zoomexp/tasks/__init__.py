"""Training tasks (LightningModules)."""
