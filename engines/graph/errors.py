"""What can go wrong with a graph."""


class GraphError(ValueError):
    """A graph cannot be read or converted; the message says what is wrong and what to do."""
