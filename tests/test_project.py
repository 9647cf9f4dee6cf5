"""The project as a whole: what it says of itself, what it imports, what its commands are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPTIONAL = ("rich", "hypothesis", "asyncpg", "psutil", "plait_adapters")
# Written in two halves, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:ro" r"ot|ho" r"me|Us" r"ers|wo" r"rk)/\w")
REGISTRY = re.compile(
    r"files\.python" r"hosted\.org|pypi\.org/" r"simple|registry\.npm" r"js\.org|index" r"-url"
)


def project_texts() -> dict[str, str]:
    """Every text file of the project by its path; in a checkout, those that git would keep."""
    git = shutil.which("git") or "false"
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # no git, or no checkout: an unpacked source distribution
        roots = ("kernel", "adapters", "tests", "benchmarks")
        paths = [path for root in roots for path in (ROOT / root).rglob("*.*")]
    texts = {}
    for path in paths:
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            texts[str(path.relative_to(ROOT))] = data.decode("utf-8", errors="replace")
    return texts


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in project_texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def run_python(code: str) -> str:
    """What a fresh interpreter prints when it runs `code`."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": "kernel:adapters"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):(?!=)", makefile, re.MULTILINE))


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_file_names_the_address_of_a_registry() -> None:
    assert lines_with(REGISTRY) == []


def test_importing_plait_imports_nothing_optional() -> None:
    # structlog imports rich by itself where it finds it, so its modules are there before.
    code = f"""
import sys, anyio, pydantic, structlog
for name in {OPTIONAL}:
    sys.modules.pop(name, None)
import plait
print([name for name in {OPTIONAL} if name in sys.modules])
"""
    assert run_python(code) == "[]"


def test_plait_imports_where_nothing_optional_can_be_imported() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL})); import plait; print('ok')"
    assert run_python(code) == "ok"


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"demo", "test"} <= set(re.findall(r"\bmake ([a-z]+)\b", readme))


def test_every_command_that_the_documents_name_is_a_target_of_make() -> None:
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        # Commands stand in backquotes or on a line of their own; "make sure" does neither.
        named = set(re.findall(r"(?:`|^\$? *)make ([a-z]+)", text, re.MULTILINE))
        assert named <= make_targets(), document
