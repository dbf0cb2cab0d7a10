"""``python -m livepaste``."""

import sys

from livepaste.cli import main

sys.exit(main())
