"""Release tooling for language-model families on the Hugging Face Hub."""

__version__ = "0.1.0"
