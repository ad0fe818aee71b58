"""Hold the paper's algorithm, StableReinforce, whole, as pure functions. Read in this order:
rewards (completion -> RewardBreakdown), advantages (rewards -> filtered advantages), losses,
logprobs; `train/rl.py` is the loop around them."""
