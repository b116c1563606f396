"""Generative adversarial networks, as an experiment."""
