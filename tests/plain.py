"""For tests that need Python as it stands: what is compiled is neither watched nor derived from."""

import pytest

from balancer.core import dispatcher

IS_COMPILED = dispatcher.__file__.endswith(".so")
needs_plain_python = pytest.mark.skipif(IS_COMPILED, reason="the core is compiled")
