"""Commands that need more than a few lines of the command line's own file."""
