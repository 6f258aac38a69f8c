"""What can go wrong with a graph."""


class GraphError(ValueError):
    """A graph cannot be read or converted; the message says what is wrong and what to do."""


class NotOffered(GraphError):
    """A precision would gain nothing for a graph, so that there is no such form of it."""
