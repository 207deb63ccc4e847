"""Prints the bootstrap of the default topology: `python -m envoyconf > envoy/rendered/envoy.yaml`."""

import sys

from envoyconf.bootstrap import render
from envoyconf.topology import Topology

if __name__ == "__main__":
    sys.stdout.write(render(Topology.default()))
