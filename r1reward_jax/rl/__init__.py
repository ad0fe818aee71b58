"""The paper's algorithm, StableReinforce, as pure functions. Read in this order: rewards,
advantages, losses, logprobs."""
