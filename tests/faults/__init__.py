"""A Hub that fails, a Hub that is killed, a push that is killed, and two pushes at once."""
