"""What goes wrong in translated rows, and the rules that catch it."""
