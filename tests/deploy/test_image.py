"""The image's recipe, as far as it can be judged without building it (tools/verify/image.sh builds it)."""

from __future__ import annotations


def test_hadolint_has_nothing_to_say_about_the_dockerfile(check, repository):
    assert check("hadolint", repository / "Dockerfile") == ""


def test_the_image_does_not_run_as_root(repository):
    recipe = (repository / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in recipe if line.startswith("USER ")]

    assert users[-1:] == ["10001:10001"]
