"""Knobs that older versions called otherwise."""

RENAMED: dict[str, str] = {}
"""Old to new path, such as {"rollout.rows": "rollout.slots"}: the old one is understood, with a
note, on the command line, in config files and in the folders of older runs."""
