"""Training: what the spectrum predicts, and what networks do."""
