"""Real processes, a real tmux server, real torchrun."""

import pytest

pytest.register_assert_rewrite("tests.e2e.faulty")
