"""Our networks against vectors of their reference implementations (`python -m converters.parity DIR`)."""
