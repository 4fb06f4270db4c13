from __future__ import annotations

import pytest

from cht_sync.transform.forms.kinds import is_moment


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2020-01-01T10:00:00.5Z", True),
        (f"2020-01-01T10:00:00.{'1' * 30}Z", True),
        (f"2020-01-01T10:00:00.{'1' * 31}Z", False),
        (f"2020-01-01T10:00:00.{'1' * 200}Z", False),
    ],
)
def test_a_moment_has_as_many_digits_as_the_cast_of_the_models_takes(value: str, moment: bool) -> None:
    assert is_moment(value) is moment
