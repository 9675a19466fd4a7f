"""The `khala` command as a build of another version would be it: `another_version.py STEP WORDS…`.

STEP is added to the versions of the protocol and of the store's schema, in this process and in those that
it spawns (which run this file again).
"""

from __future__ import annotations

import sys

from khala.bus import handshake
from khala.cli.main import main
from khala.store.mongo import schema

STEP = int(sys.argv[1])
handshake.PROTOCOL_VERSION += STEP
schema.SCHEMA_VERSION += STEP

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
