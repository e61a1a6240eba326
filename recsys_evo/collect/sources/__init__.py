"""Readers of official files, a module a publisher: see `recsys_evo.collect.datasets`."""
