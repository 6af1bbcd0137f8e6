"""Run a supervised pool of Python worker processes behind one ZeroMQ address.

python run_cluster.py                        the demo: three small servers
python run_cluster.py package.module:handle  your own function
python run_cluster.py --help                 everything else
"""

import sys

if __name__ == "__main__":
    try:
        from balancer.cli import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before there was anything to stop
        sys.exit(130)
