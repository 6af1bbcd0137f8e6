"""Run a supervised pool of Python worker processes behind one ZeroMQ address.

python run_cluster.py                        the demo: three small servers
python run_cluster.py package.module:handle  your own function
python run_cluster.py --help                 everything else
"""

import sys

from balancer.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
