"""`python -m stage.doctor`."""

import sys

from stage.doctor import main

sys.exit(main())
