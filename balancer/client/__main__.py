"""``python -m balancer.client``: requests from the command line, a pipe or a prompt."""

import sys

from balancer.client.prompt import main

sys.exit(main())
