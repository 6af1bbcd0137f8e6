"""``python -m balancer.client``: requests from the command line, a pipe or a prompt."""

import sys

try:
    from balancer.client.prompt import main
except ModuleNotFoundError as error:
    fix = "python3 -m venv .venv && .venv/bin/pip install -e . and then .venv/bin/python"
    sys.exit(f"balancer.client: error: {sys.executable} has no {error.name}: {fix}")
except KeyboardInterrupt:  # before there was anything to stop
    sys.exit(130)

sys.exit(main())
