"""Tasks for lm-eval, of our own: a YAML file each, and how their rows become prompts."""
