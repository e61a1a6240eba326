"""Collect: the event log, the simulated world, its yardsticks, and real logs."""
