"""A report is made of files: it must not cost the seconds that JAX takes to import."""

import subprocess
import sys

REPORT = """
import sys
from r1reward_jax.cli.main import main
assert main(["report", *sys.argv[1:]]) == 0
print(*sorted({"jax", "flax", "transformers", "scipy", "orbax", "tensorflow"} & sys.modules.keys()))
"""


def test_a_report_imports_no_models(run, tmp_path):
    page = str(tmp_path / "report.html")
    command = [sys.executable, "-c", REPORT, str(run), "--out", page]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"written: {page}", ""]
