"""Teachers that write analyses for the cold start, and grade difficulty by their attempts."""
