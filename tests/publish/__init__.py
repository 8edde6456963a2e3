"""Publishing a release to a Hub, through the command line and through the functions below it."""
