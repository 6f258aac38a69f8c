"""What leaves the appliance: policy, message, sealing, publisher."""
