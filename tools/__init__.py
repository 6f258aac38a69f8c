"""What stands around an appliance: scanner simulator, central subscriber, bench, training, demo."""
