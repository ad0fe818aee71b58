"""The folder of a run: claims, resume rules, provenance, metrics and their writers, profiling."""
