"""Models: from the simple rivals to the networks."""
