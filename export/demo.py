# SPDX-License-Identifier: Apache-2.0
"""`python -m export.demo`: another name of `python -m export.walkthrough`."""

from export.walkthrough import main

if __name__ == "__main__":
    main()
