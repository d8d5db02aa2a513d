"""The model workshop: makes the packages that agents serve."""
