"""One protocol, several engines. Each backend imports its heavy library when it is used."""
