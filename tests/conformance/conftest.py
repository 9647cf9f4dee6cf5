"""A suite's assertions say what they compared, like those of a test module."""

import pytest

pytest.register_assert_rewrite("plait.testing.conformance")
