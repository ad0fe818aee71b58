"""How programs are compiled for tests: the sooner the better."""

import os
from importlib.metadata import version

CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
CACHE = os.path.join(CACHE, "r1reward", "jax-tests")
"""Where compiled programs are kept, unless JAX_COMPILATION_CACHE_DIR names a folder."""
FAST = "--xla_backend_optimization_level=0"
"""XLA_FLAGS of the tests and of the processes that they start. Without LLVM's optimisation a
training step compiles in half the time; with the older emitters of fusions, as long as there are
some, in a seventh. What is compiled runs more slowly, which matters little to tiny models."""
AS_ALWAYS = {}
"""`compiler_options` of a test that reads what XLA made of a program."""
if version("jaxlib").startswith("0.10."):  # later ones end at a flag that they do not know
    FAST += " --xla_cpu_use_fusion_emitters=false"
    AS_ALWAYS["xla_cpu_use_fusion_emitters"] = True
