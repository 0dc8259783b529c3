"""`python -m edge_smtp`."""

import sys

from edge_smtp.main import main

sys.exit(main())
