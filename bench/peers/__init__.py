"""Other ways to run the same short commands, each in a virtual environment of its own, made on demand."""
