"""The pure functions of StableReinforce, the paper's algorithm. Read in this order: rewards
(completion -> RewardBreakdown), advantages (rewards -> filtered advantages), losses, logprobs;
`train/rl.py` is the loop around them."""
