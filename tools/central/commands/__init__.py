"""The commands of ``scanside-central``, a module a group."""
