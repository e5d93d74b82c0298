"""What the README prints runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_example_runs_and_changes_one_layer(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 1
    lines = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(lines) <= 18
    script = tmp_path / "example.py"
    script.write_text(blocks[0])
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"changed: \('conv_[1-4]',\)", done.stdout), done.stdout


def test_the_two_commands_are_there():
    text = (ROOT / "README.md").read_text()
    targets = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in text
        assert f"\n{command}:" in targets
