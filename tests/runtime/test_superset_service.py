"""The installation of Superset where it cannot succeed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cht_sync.environments import Environment
from cht_sync.errors import ServiceError
from cht_sync.runtime import superset
from cht_sync.settings import load


@pytest.fixture
def service(tmp_path: Path) -> superset.Superset:
    """One that is not installed."""
    return superset.Superset(load(Environment.LOCAL, home=tmp_path, environ={}))


@pytest.mark.skipif(superset.python() is None, reason="Superset runs on Python 3.11 and 3.12 only")
def test_without_packages_to_download_it_says_what_to_do_and_leaves_nothing_half_done(
    service: superset.Superset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superset, "SOURCES", tmp_path)
    (tmp_path / "requirements.txt").write_text("no-such-package-anywhere==1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    half_done = tmp_path / ".cht-sync" / "superset" / "half-done"
    half_done.mkdir(parents=True)
    with pytest.raises(ServiceError, match=r"^superset: cannot be installed: .*no-such-package") as raised:
        service.prepare(lambda _words: None)
    assert "\n" not in raised.value.message
    assert "--without superset" in str(raised.value.hint)
    assert not half_done.exists()


def test_without_a_python_that_can_run_it_the_rest_can_go_on(
    service: superset.Superset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superset, "python", lambda: None)
    with pytest.raises(ServiceError) as raised:
        service.prepare(lambda _words: None)
    assert "--without superset" in str(raised.value.hint)
