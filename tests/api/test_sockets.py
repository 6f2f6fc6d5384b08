"""How many sockets a server may have."""

import subprocess
import sys

SOURCE = """
import resource
from api.live.sockets import take_descriptors
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
take_descriptors()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most), most
"""


def test_a_server_takes_as_many_descriptors_as_it_may() -> None:
    subprocess.run([sys.executable, "-c", SOURCE], check=True, timeout=60)
