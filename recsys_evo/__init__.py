"""How User Behaviour Evolves: recommender systems through large models."""
