"""`python -m api_gateway`."""

import sys

from api_gateway.main import main

sys.exit(main())
