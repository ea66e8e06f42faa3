"""`python -m convworks` is the `convworks` command."""

from convworks.cli import main

main()
