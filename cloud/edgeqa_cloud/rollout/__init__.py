"""Rollouts: models brought to a fleet in stages, steered by what the devices measured."""
