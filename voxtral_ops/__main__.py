"""``python -m voxtral_ops``: the same as the ``voxtral-ops`` command."""

import sys

from voxtral_ops.cli.main import main

sys.exit(main())
