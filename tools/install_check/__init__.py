"""docs/install.md carried out on fresh systems in virtual machines, and what must hold then."""
