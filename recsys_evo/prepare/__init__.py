"""Prepare: past and future that cannot leak, behaviour images, hand-made features."""
