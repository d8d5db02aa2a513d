"""What the signed repository offers, and who runs it."""
