"""The README says what is so: its help block, commands, kinds, examples and files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from runner.cli import COMMANDS, cli
from runner.kinds import KINDS
from runner.spec import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
HELP = re.compile(r"(<!-- help: runner -->\n```\n).*?(```\n<!-- end -->)", re.S)


def help_text() -> str:
    shown = CliRunner().invoke(cli, ["--help"], prog_name="runner", catch_exceptions=False)
    return shown.output


def test_the_help_block_is_what_the_command_prints() -> None:
    # To bring it up to date: UPDATE_README=1 pytest tests/test_docs.py
    fresh = HELP.sub(lambda match: match[1] + help_text() + match[2], README)
    if os.environ.get("UPDATE_README"):
        (ROOT / "README.md").write_text(fresh)
    assert fresh == (ROOT / "README.md").read_text()


def test_every_command_and_kind_is_there() -> None:
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", README, re.M), name
    for name in KINDS:
        assert f"| `{name}` |" in README


def test_the_first_job_shown_is_one_that_validates() -> None:
    text = README.split("```yaml\n")[1].split("```")[0]
    job = load(text.encode(), file="README.md", environment={})
    shown = yaml.safe_load(text)
    kept = yaml.safe_load((ROOT / "jobs" / "distill.yaml").read_text())
    assert job.name == kept["name"]
    for name, task in shown["tasks"].items():
        assert task.items() <= kept["tasks"][name].items()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


def test_the_python_example_compiles_and_names_what_exists() -> None:
    import runner

    code = README.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert callable(runner.submit)
    for name in re.findall(r"run\.(\w+)", code):
        assert hasattr(runner.Run, name), name


def test_ci_runs_the_readmes_test_line() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -m1 -E '([^']+)' README.md", script)
    assert pattern is not None
    lines = [line for line in README.splitlines() if re.search(pattern[1], line)]
    assert len(lines) == 1
    assert "-m pytest" in lines[0]


def test_exit_codes_are_those_of_the_code() -> None:
    from runner.errors import Exit

    for code in Exit:
        assert re.search(rf"(?<!\d){code.value} ", README), code


def test_every_benchmark_says_how_it_is_run() -> None:
    for file in (ROOT / "benchmarks").glob("*.py"):
        is_part = file.name in ("bare_script.py", "parts.py")
        assert f"python benchmarks/{file.name}" in file.read_text() or is_part
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    for name in ("startup.py", "training.py", "distillation.py", "compression.py", "keras_fit.py"):
        assert f"python benchmarks/{name}" in results


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runner", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"runner \d+\.\d+\.\d+\n", done.stdout)
