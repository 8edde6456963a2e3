"""Where rows come from: one adapter per source."""
