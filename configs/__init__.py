"""ml_collections configs; `get_config()` of each file gives a complete one."""
