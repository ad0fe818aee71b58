"""Rollouts: a pure sampler, and an engine that batches prompts for it."""
