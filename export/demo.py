"""`python -m export.demo`: another name of `python -m export.walkthrough`."""

from export.walkthrough import main

if __name__ == "__main__":
    main()
