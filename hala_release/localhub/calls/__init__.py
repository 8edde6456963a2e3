"""What the Hub answers: one file for each family of calls. The table of routes is in `app`."""
