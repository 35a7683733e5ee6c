"""Workflows, hooks and images: they run what runs here, where it is promised, with few rights.

`make workflows`, a part of `make check`, holds the same files to their schemas and audits.
"""

import re
import tomllib

import pytest
import yaml
from command_line import ROOT
from guide_files import files_of

MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
JOBS = [
    pytest.param(job, id=f"{name}-{key}")
    for name, workflow in WORKFLOWS.items()
    for key, job in workflow["jobs"].items()
]
STEPS = [
    pytest.param(step, id=f"{name}-{key}-{step['run']}")
    for name, workflow in WORKFLOWS.items()
    for key, job in workflow["jobs"].items()
    for step in job.get("steps", [])
    if "run" in step
]
DEPLOY = "docs/how-to/deploy.md"


def is_target(name):
    return re.search(rf"^{re.escape(name)}: ", MAKEFILE, re.MULTILINE) is not None


def matrix(job, name):
    return WORKFLOWS["ci"]["jobs"][job]["strategy"]["matrix"][name]


def test_there_are_workflows_for_changes_documentation_releases_and_what_comes_next():
    assert set(WORKFLOWS) == {"ci", "docs", "release", "weekly"}


@pytest.mark.parametrize("step", STEPS)
def test_each_step_calls_make(step):
    make, target, *variables = step["run"].split(maxsplit=2)

    assert make == "make"
    assert is_target(target)
    for name in re.findall(r"\b([A-Z]+)=", " ".join(variables)):
        assert f"$({name})" in MAKEFILE
    for suite in re.findall(r"\bSUITE=(\S+)", " ".join(variables)):
        assert is_target(suite)


@pytest.mark.parametrize("job", JOBS)
def test_each_job_has_the_rights_that_it_names_and_no_others(job):
    writes = {right for right, value in job["permissions"].items() if value != "read"}

    if not job["name"].startswith("Publish"):
        assert writes == set()
    assert writes <= {"contents", "id-token", "attestations", "pages"}


def test_all_supported_pythons_are_tested():
    supported = {
        name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)
    }
    (whole,) = [
        step["with"]["python-version"]
        for step in WORKFLOWS["ci"]["jobs"]["whole"]["steps"]
        if "setup-python" in step.get("uses", "")
    ]

    assert {whole, *matrix("pythons", "python")} == supported
    assert f">={whole}" == PROJECT["requires-python"]


def test_all_supported_servers_are_tested():
    assert matrix("servers", "server") == [
        *("redis:7.0", "redis:7.2", "redis:7.4", "redis:8"),
        *("valkey/valkey:7.2", "valkey/valkey:8", "valkey/valkey:9"),
    ]


def test_a_release_is_published_only_when_everything_has_passed():
    jobs = WORKFLOWS["release"]["jobs"]

    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert set(jobs["pypi"]["needs"]) == {"ci", "build"}
    assert jobs["github"]["needs"] == ["pypi"]
    # Nothing that another run has left gets into it.
    assert "cache" not in str(jobs["build"])


def test_the_site_is_published_only_after_a_release():
    docs = WORKFLOWS["docs"]
    # YAML reads the key "on" as true.
    triggers = docs[True]

    assert set(triggers) == {"push", "pull_request", "workflow_call"}
    assert triggers["push"] == {"branches": ["main"]}
    assert docs["jobs"]["publish"]["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert "cache" not in str(docs["jobs"]["build"])
    caller = WORKFLOWS["release"]["jobs"]["docs"]
    assert caller["uses"] == "./.github/workflows/docs.yml"
    assert caller["needs"] == ["pypi"]
    # A called job has no rights that its caller lacks.
    for job in docs["jobs"].values():
        assert job["permissions"].items() <= caller["permissions"].items()


def test_hooks_of_pre_commit_are_parts_of_make_check():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    parts = re.search(r"^check: (.*?) ##", MAKEFILE, re.MULTILINE)[1].split()

    # A version that stands here could be another than that of pyproject.toml.
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    assert entries == [f"make --no-print-directory {part}" for part in parts]


@pytest.mark.parametrize("name", ["app.py", "requirements.txt", "Dockerfile", "compose.yaml"])
def test_files_of_the_deploy_page_are_those_of_the_folder(name):
    assert files_of(DEPLOY)[name] == (ROOT / "deploy" / name).read_text()


def test_the_image_is_small_not_root_healthy_and_gets_signals():
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()

    assert re.fullmatch(r"FROM python:3\.\d+-slim", lines[0])
    (user,) = [line.removeprefix("USER ") for line in lines if line.startswith("USER ")]
    assert int(user.partition(":")[0]) > 0
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    # In the list form no shell stands between the supervisor's SIGTERM and the worker.
    assert any(line.startswith('CMD ["faststream"') for line in lines)


def test_what_the_image_leaves_out_is_not_sent_to_docker_either():
    dockerignore = (ROOT / "deploy" / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (\S+) ", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)

    assert dockerignore == ["*", *(f"!{name}" for name in sorted(copied))]
