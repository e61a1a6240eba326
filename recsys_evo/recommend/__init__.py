"""Recommend: what to show, the loop of users and recommender, what another policy would earn."""
