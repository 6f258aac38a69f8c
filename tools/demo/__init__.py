"""The whole chain on this machine, to look at: ``./tools/demo.sh``."""
