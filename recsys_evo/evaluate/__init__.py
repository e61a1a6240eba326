"""Evaluate: how good a ranking or a forecast is, with intervals over users."""
